"""How messages for people are put together, and what people may have meant."""


def sentence(text: str) -> str:
    """With one full stop at its end, whoever wrote the text: exceptions of others end as they like."""
    said = text.rstrip(" .\n\r\t")
    return said if said.endswith(("?", "!")) else f"{said}."


def is_slip_of(given: str, word: str) -> bool:
    """Whether a text is a word with one letter too many, too few or another, or two the wrong way round."""
    start = _alike(given, word)
    end = _alike(given[start:][::-1], word[start:][::-1])
    wrong, right = given[start : len(given) - end], word[start : len(word) - end]
    is_small = max(len(wrong), len(right)) <= 1 or (len(wrong) == 2 and wrong == right[::-1])
    return is_small and (wrong + right).isalpha()


def _alike(left: str, right: str) -> int:
    """With how many same letters they begin."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(left), len(right)))


def printable(text: str) -> str:
    """The text without what no UTF-8 can say: halves of surrogate pairs, as in names of files and answers of models."""
    return text.encode("utf-8", "replace").decode()
