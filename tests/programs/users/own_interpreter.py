"""The program uses `dspy.CodeAct` with the user's own interpreter, by `interpreter_factory` in the settings."""

import warnings

import dspy


class Pretends:
    """An interpreter that runs nothing. Its output is the first expression that the code prints."""

    def __init__(self, **kwargs):
        self.tools, self.started = {}, False

    def start(self):
        self.started = True

    def execute(self, code, variables=None):
        if "missing" in code:
            raise dspy.CodeExecutionError(f"NameError in {code}")
        return code.partition("(")[2].rpartition(")")[0] or "nothing"

    def shutdown(self):
        self.started = False


dspy.configure(interpreter_factory=Pretends)


def tons(crate: str) -> int:
    """How heavy a crate is."""
    return len(crate)


def program():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dspy.CodeAct("question -> answer", tools=[tons], max_iters=2)


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"how heavy is crate {n}", word=("crate", "heavy", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 9)
