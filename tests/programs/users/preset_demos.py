"""The user sets demonstrations by `predict.demos` and a state by `load_state`, and examples have more fields."""

import dspy


class Preset(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("letter -> drawer: int")
        self.sort.demos = [dspy.Example(letter="a bill", drawer=2), {"letter": "a permit", "drawer": 1}]
        self.name = dspy.Predict("letter, drawer: int -> name")
        state = self.name.dump_state()
        state["signature"]["instructions"] = "Find a name for the file."
        self.name.load_state(state)

    def forward(self, letter):
        drawer = self.sort(letter=letter).drawer
        return dspy.Prediction(drawer=drawer, name=self.name(letter=letter, drawer=drawer).name)


program = Preset


def metric(example, pred, trace=None):
    return (pred.drawer % 3 == example.drawer) / 2 + (example.letter.split()[-1] in pred.name) / 2


def examples(first, count):
    return [
        dspy.Example(letter=f"a note on mooring {n}", drawer=n % 3, note=f"row {n}", weight=None).with_inputs("letter")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
