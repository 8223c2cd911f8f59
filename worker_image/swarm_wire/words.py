"""Functions that format messages for people and detect typing errors."""


def sentence(text: str) -> str:
    """Returns the text with exactly one full stop at its end. Texts of foreign exceptions end in different ways."""
    said = text.rstrip(" .\n\r\t")
    return said if said.endswith(("?", "!")) else f"{said}."


TOO_MANY = 100_000
"""Nobody collects more examples than this to have a verdict."""


def would_decide(examples: int | None) -> str:
    """Returns a clause on how many examples would decide a comparison; empty if it is decided."""
    if not examples:
        return ""
    number = f"about {examples:,}" if examples <= TOO_MANY else f"more than {TOO_MANY:,}"
    return f"; {number} examples would decide"


def is_slip_of(given: str, word: str) -> bool:
    """Whether a text is the word with one letter added, removed or replaced, or with two letters swapped."""
    start = _alike(given, word)
    end = _alike(given[start:][::-1], word[start:][::-1])
    wrong, right = given[start : len(given) - end], word[start : len(word) - end]
    is_small = max(len(wrong), len(right)) <= 1 or (len(wrong) == 2 and wrong == right[::-1])
    return is_small and (wrong + right).isalpha()


def _alike(left: str, right: str) -> int:
    """Returns the length of the common prefix."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(left), len(right)))


def printable(text: str) -> str:
    """Replaces what UTF-8 cannot encode. Names of files and answers of models may contain halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()
