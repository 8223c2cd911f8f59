"""Finds the documented shell command that removes the operator's finalizer from pods."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    """Returns the pages that contain the command."""
    return [_ROOT / "docs" / "conditions.md", _ROOT / "charts" / "dspy-swarm" / "templates" / "NOTES.txt"]


def _line() -> str:
    found = re.search(r"^    kubectl get pods -A .*?^ +done$", pages()[0].read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


LINE = _line()
