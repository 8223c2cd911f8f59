"""With `dspy.ProgramOfThought`, the model writes code, and the local interpreter runs it in a process."""

import dspy

program = dspy.ProgramOfThought("question -> answer", max_iters=2, interpreter_factory=dspy.LocalInterpreter)


def metric(example, pred, trace=None):
    return any(word in pred.answer for word in example.words)


def examples(first, count):
    return [
        dspy.Example(question=f"Add the crates {n} and {n + 1}", words=[str(n), str(n % 10)]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 5)


def validation():
    return examples(20, 6)
