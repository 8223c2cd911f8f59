"""The user's own adapter is a ChatAdapter that adds a house style to prompts and puts answers into capitals."""

import dspy


class HouseStyle(dspy.ChatAdapter):
    def __init__(self, style="Be brief.", **kwargs):
        super().__init__(**kwargs)
        self.style = style

    def format_task_description(self, signature):
        return f"{super().format_task_description(signature)}\n{self.style}"

    def parse(self, signature, completion):
        return {
            name: value.upper() if isinstance(value, str) else value
            for name, value in super().parse(signature, completion).items()
        }


dspy.configure(adapter=HouseStyle("Write as a harbour master would."))
program = dspy.Predict("letter -> reply, stamp: bool")


def metric(example, pred, trace=None):
    return pred.reply.isupper() * (0.5 + 0.5 * (pred.stamp == example.stamp))


def examples(first, count):
    return [
        dspy.Example(letter=f"Permit {n} has run out", stamp=n % 2 == 0).with_inputs("letter")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
