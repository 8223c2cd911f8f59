"""The program has attributes whose names DSPy and its optimizers also use: `stage` and `total_calls`."""

import dspy


class Desk(dspy.Module):
    total_calls = 1

    def __init__(self, stage="draft"):
        super().__init__()
        self.stage, self.total_calls = stage, 2
        self.answer = dspy.Predict("stage, question -> answer")

    def forward(self, question):
        for _ in range(self.total_calls):
            found = self.answer(stage=self.stage, question=question)
            question = f"{question} And then? {found.answer}"
        return found


program = Desk


def metric(example, pred, trace=None):
    return example.word in pred.answer


def stages(student, trainset, valset, metric):
    """Chooses the stage of the program that scores best."""
    scores = {}
    for stage in ("draft", "final"):
        candidate = student.deepcopy()
        candidate.stage = stage
        scores[stage] = dspy.Evaluate(devset=valset, metric=metric)(candidate).score
    winner = student.deepcopy()
    winner.answer.signature = winner.answer.signature.with_instructions(str(scores))
    return winner


def examples(first, count):
    words = ("clerk", "stamps", "And")
    return [
        dspy.Example(question=f"which clerk stamps {n}?", word=words[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
