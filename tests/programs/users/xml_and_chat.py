"""The program uses two adapters: XML in a context around one call, and otherwise the default adapter."""

import dspy


class Two(dspy.Module):
    def __init__(self):
        super().__init__()
        self.outline = dspy.Predict("topic -> points: list[str]")
        self.write = dspy.Predict("topic, points -> title, words: int")

    def forward(self, topic):
        with dspy.context(adapter=dspy.XMLAdapter()):
            points = self.outline(topic=topic).points
        return self.write(topic=topic, points=points)


program = Two


def metric(example, pred, trace=None):
    return (pred.words % 2 == example.n % 2) / 2 + (str(example.n) in pred.title) / 2


def examples(first, count):
    return [
        dspy.Example(topic=f"repairs & <tests> of lock {n}", n=n).with_inputs("topic")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
