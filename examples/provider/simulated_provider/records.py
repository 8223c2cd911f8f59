"""Finds labelled examples that a text quotes, in any of the ways in which DSPy's optimizers quote them.

They are quoted as the `repr` of examples, as JSON, as `Field: value` lines or under markdown headings. The functions
read all of them as a stream of (key, value) pairs. A key that comes again begins the next record.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, str]


class Case(NamedTuple):
    """A text, and the label that it has in the quoted examples."""

    text: str
    label: str


def cases(fields: Mapping[str, str]) -> list[Case]:
    """Returns the labelled examples in a prompt's fields, without those that the prompt calls wrong or worse."""
    found: list[Case] = []
    loose: dict[str, str] = {}
    for name, text in fields.items():
        if name.startswith("worse"):
            continue
        records = _records(_pairs(text))
        if len(records) > 1:
            found.extend(_cases(records))
        elif records and not found:
            loose = {**records[0], **loose}
    return found or _cases([loose])


def _cases(records: Sequence[Record]) -> list[Case]:
    key = _label_key(records)
    if key is None:
        return []
    labels = {record[key] for record in records if key in record}
    picked = []
    for record in records:
        label = _right_label(record, key, labels)
        others = (value for name, value in record.items() if name != key and name.lower() != "feedback")
        text = max(others, key=len, default="")
        if label and text:
            picked.append(Case(text, label))
    return picked


def _right_label(record: Record, key: str, labels: Iterable[str]) -> str | None:
    feedback = next((value for name, value in record.items() if name.lower() == "feedback"), None)
    generated = record.get(key)
    if feedback is None:
        return generated
    named = [
        label for label in sorted(labels) if label != generated and re.search(rf"\b{re.escape(label)}\b", feedback)
    ]
    if len(named) == 1:
        return named[0]
    return None if re.search(r"score(?:d| of)? 0(?:\.0*)?\b", feedback) or named else generated


def _label_key(found: Sequence[Record]) -> str | None:
    """Returns the key whose values look like labels: short words that repeat."""
    values: dict[str, list[str]] = {}
    for record in found:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    best, best_ratio = None, 1.1
    for name, seen in values.items():
        if len(seen) * 2 < len(found) or not all(_like_label(value) for value in seen):
            continue
        ratio = len(Counter(seen)) / len(seen)
        if ratio < best_ratio:
            best, best_ratio = name, ratio
    return best


def _like_label(value: str) -> bool:
    return len(value) <= 40 and len(value.split()) <= 3 and re.fullmatch(r"[A-Za-z][\w /&-]*", value) is not None


def _records(pairs: Iterable[tuple[str, str]]) -> Sequence[Record]:
    found: list[dict[str, str]] = []
    for key, value in pairs:
        if not found or key in found[-1]:
            found.append({})
        found[-1][key] = value
    return found


_EXAMPLE = re.compile(r"Example\((\{.*?\})\)(?= \(input_keys=|, |\]|$)", re.DOTALL)
_HEADING = re.compile(
    r"^#{1,6} +(?P<key>[A-Za-z]\w*(?: \w+)*)[ \t]*\n++(?!#)(?P<value>.*?)(?=\n+#{1,6} |\Z)", re.DOTALL | re.MULTILINE
)
_LINE = re.compile(
    r"^(?P<key>[A-Za-z]\w*(?: \w+){0,3}): (?P<value>.*(?:\n(?![A-Za-z][\w ]{0,40}: |=====|\n).*)*)", re.MULTILINE
)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    stripped = text.strip()
    if stripped[:1] in "{[":
        try:
            yield from _leaves("", json.loads(stripped))
            return
        except ValueError:
            pass
    examples = list(_EXAMPLE.finditer(text))
    if examples:
        for example in examples:
            try:
                yield from _leaves("", ast.literal_eval(example[1]))
            except (ValueError, SyntaxError):
                continue
        return
    pattern = _HEADING if _HEADING.search(text) else _LINE
    for found in pattern.finditer(text):
        value = found["value"].strip()
        if value:
            yield found["key"].lower().replace(" ", "_"), value


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(str(name), part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(key, part)
    elif value is not None and key:
        yield key, str(value)
