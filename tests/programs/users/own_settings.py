"""The optimizers try settings of the user, and adapters, each in a `dspy.context` around an evaluation."""

import dspy


class HouseStyle(dspy.ChatAdapter):
    def __init__(self, style):
        super().__init__()
        self.style = style

    def format_task_description(self, signature):
        return f"{super().format_task_description(signature)}\n{self.style}"


class Reply(dspy.Module):
    def __init__(self):
        super().__init__()
        self.reply = dspy.Predict("letter, tone -> reply")

    def forward(self, letter):
        return self.reply(letter=letter, tone=dspy.settings.get("tone", "plain"))


program = Reply


def metric(example, pred, trace=None):
    return example.word in pred.reply


def _told(student, scores):
    winner = student.deepcopy()
    winner.reply.signature = winner.reply.signature.with_instructions(f"They came to {scores}.")
    return winner


def tones(student, trainset, valset, metric):
    scores = []
    for tone in ("plain", "warm"):
        with dspy.context(tone=tone):
            scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    return _told(student, scores)


def styles(student, trainset, valset, metric):
    scores = []
    for adapter in (HouseStyle("Be brief."), HouseStyle("Be kind."), dspy.JSONAdapter()):
        with dspy.context(adapter=adapter):
            scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    return _told(student, scores)


def examples(first, count):
    return [
        dspy.Example(letter=f"Permit {n} has run out", word=("Permit", "run")[n % 2]).with_inputs("letter")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
