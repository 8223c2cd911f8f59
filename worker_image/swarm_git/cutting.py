"""Cuts Markdown to the length that a provider takes."""

import re
from dataclasses import dataclass, replace


def fitting(body: str, most: int, ending: str) -> str:
    """Returns a text of at most `most` characters. A text that is cut, at the end of a line, ends with `ending`.

    Nobody would see the ending inside of code or of a folded part. So the cut closes what is open at its place.
    """
    if len(body) <= most:
        return body
    room = most - len(ending) - 2
    kept, length, opened, closing = [], 0, _Open(), ""
    for line in body.splitlines():
        opened = opened.after(line)
        length += len(line) + 1
        if length + len(opened.closing) > room:
            break
        kept.append(line)
        closing = opened.closing
    return "\n".join(kept) + f"{closing}\n\n{ending}"


@dataclass(frozen=True)
class _Open:
    """What is open after a line of Markdown: the fence of code, and how many <details>."""

    fence: str = ""
    folded: int = 0

    def after(self, line: str) -> "_Open":
        found = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if self.fence:
            ends = found is not None and not found[2].strip() and len(found[1]) >= len(self.fence)
            return replace(self, fence="") if ends else self
        if found:
            return replace(self, fence=found[1])
        return replace(self, folded=self.folded + line.count("<details") - line.count("</details>"))

    @property
    def closing(self) -> str:
        return (f"\n{self.fence}" if self.fence else "") + "\n\n</details>" * self.folded
