"""From the entity tutorial: input and output are lists of tokens, and a Python generator makes the data."""

import dspy


class PeopleExtraction(dspy.Signature):
    """Extract contiguous tokens referring to specific people, if any, from a list of string tokens."""

    tokens: list[str] = dspy.InputField(desc="tokenized text")
    extracted_people: list[str] = dspy.OutputField(desc="all tokens referring to specific people")


program = dspy.ChainOfThought(PeopleExtraction)


def metric(example, prediction, trace=None):
    expected, found = set(example.expected_extracted_people), set(prediction.extracted_people)
    return len(expected & found) / len(expected | found)


def rows(first, count):
    for n in range(first, first + count):
        yield dspy.Example(
            tokens=["Captain", f"Ito{n}", "met", "Ana"], expected_extracted_people=[f"Ito{n}", "Ana"]
        ).with_inputs("tokens")


def train():
    return list(rows(0, 10))


def validation():
    return list(rows(30, 12))
