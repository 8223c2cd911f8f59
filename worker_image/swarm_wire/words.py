"""How messages for people are put together, and what people may have meant."""

from os.path import commonprefix


def sentence(text: str) -> str:
    """With one full stop at its end, whoever wrote the text: exceptions of others end as they like."""
    return f"{text.rstrip(' .')}."


def is_slip_of(given: str, word: str) -> bool:
    """Whether a text is a word with one letter too many, too few or another, or two the wrong way round."""
    start = len(commonprefix([given, word]))
    end = len(commonprefix([given[start:][::-1], word[start:][::-1]]))
    wrong, right = given[start : len(given) - end], word[start : len(word) - end]
    is_small = max(len(wrong), len(right)) <= 1 or (len(wrong) == 2 and wrong == right[::-1])  # noqa: PLR2004
    return is_small and (wrong + right).isalpha()
