"""Marks in texts that stand for results which are not there yet."""

import re

_MARK = re.compile(r"⟦[A-Z](?=\|[0-9a-f]{32}\|)")
"""A user's own text has no digest in it."""


def mark(role: str, digest: str, field: str) -> str:
    """A text that stands for a field of an unfinished effect's result."""
    return f"⟦{role}|{digest}|{field}⟧"


def unmarked(text: str) -> tuple[str, bool]:
    """The text with the scout's letter taken out of its marks, and whether there was one.

    Two scouts that hold the same unfinished result thus hold the same text.
    """
    if "⟦" not in text:
        return text, False
    neutral, count = _MARK.subn("⟦?", text)
    return neutral, count > 0
