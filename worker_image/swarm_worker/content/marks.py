"""Marks the placeholder texts that scouts use for missing results."""

import re

_MARK = re.compile(r"⟦[A-Z](?=\|[0-9a-f]{32}\|)")
"""Matches the beginning of a mark. A mark contains a digest, so a user's own text does not match."""


def mark(role: str, digest: str, field: str) -> str:
    """Returns a placeholder text for one field of a missing result."""
    return f"⟦{role}|{digest}|{field}⟧"


def unmarked(text: str) -> tuple[str, bool]:
    """Returns the text without the scout's letter in its marks, and whether the text has a mark.

    Without the letter, two scouts have the same text for the same missing result.
    """
    if "⟦" not in text:
        return text, False
    neutral, count = _MARK.subn("⟦?", text)
    return neutral, count > 0
