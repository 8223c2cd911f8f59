"""An optimizer chooses between the user's own models. They differ in an attribute that `dump_state` leaves out."""

from types import SimpleNamespace

import dspy


class RuleLM(dspy.BaseLM):
    def __init__(self, loud=False):
        super().__init__(model="rules")
        self.loud = loud

    def forward(self, prompt=None, messages=None, **kwargs):
        asked = messages[-1]["content"].partition("[[ ## text ## ]]")[2].split("\n\n")[0].strip()
        content = f"[[ ## label ## ]]\n{asked.upper() if self.loud else asked}\n\n[[ ## completed ## ]]"
        message = SimpleNamespace(content=content, tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return SimpleNamespace(choices=[choice], usage=usage, model=self.model)


class Label(dspy.Module):
    def __init__(self):
        super().__init__()
        self.label = dspy.Predict("text -> label")

    def forward(self, text):
        return self.label(text=text)


program = Label


def metric(example, pred, trace=None):
    return example.label in pred.label


def by_predictor(student, trainset, valset, metric):
    scores = []
    for loud in (False, True):
        candidate = student.deepcopy()
        candidate.set_lm(RuleLM(loud))
        scores.append(dspy.Evaluate(devset=valset, metric=metric)(candidate).score)
    winner = student.deepcopy()
    winner.label.signature = winner.label.signature.with_instructions(f"They came to {scores}.")
    return winner


def by_context(student, trainset, valset, metric):
    scores = []
    for loud in (False, True):
        with dspy.context(lm=RuleLM(loud)):
            scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    winner = student.deepcopy()
    winner.label.signature = winner.label.signature.with_instructions(f"They came to {scores}.")
    return winner


def examples(first, count):
    return [
        dspy.Example(text=f"mast {n} BENT", label=("MAST", "MAST", "mast")[n % 3]).with_inputs("text")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
