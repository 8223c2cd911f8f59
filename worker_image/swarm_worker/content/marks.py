"""Marks in placeholder texts for missing results."""

import re

_MARK = re.compile(r"⟦[A-Z](?=\|[0-9a-f]{32}\|)")
"""Matches a mark's beginning. The digest keeps it from matching a user's own text."""


def mark(role: str, digest: str, field: str) -> str:
    """A placeholder text for a field of an unfinished effect's result."""
    return f"⟦{role}|{digest}|{field}⟧"


def unmarked(text: str) -> tuple[str, bool]:
    """The text without the scout's letter in its marks, and whether it has a mark.

    So two scouts with the same unfinished result have the same text.
    """
    if "⟦" not in text:
        return text, False
    neutral, count = _MARK.subn("⟦?", text)
    return neutral, count > 0
