"""Writes values as text in the format that the prompt's adapter reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from simulated_provider.prompts import Task

# The answer quotes texts from the query. A header in such a text would end a field of the answer.
_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(task: Task, values: Mapping[str, Any]) -> str:
    """Writes the answer to `task`. `values` is field name -> JSON value, in the order of the prompt."""
    match task.adapter:
        case "chat":
            parts = [f"[[ ## {name} ## ]]\n{_quotable(value)}" for name, value in values.items()]
            return "\n\n".join([*parts, "[[ ## completed ## ]]"])
        case "json":
            return json.dumps(dict(values), indent=2, ensure_ascii=False)
        case "xml":
            return "\n\n".join(_element(name, value) for name, value in values.items())
        case "plain":
            return "\n\n".join(_plain(value) for value in values.values())


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _quotable(value: Any) -> str:
    return _HEADER.sub(r"\1", _plain(value))


def _element(name: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return f"<{name}>{_nested(value)}</{name}>"
    return f"<{name}>\n{_escaped(_plain(value))}\n</{name}>"


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return "".join(f"<item>{_nested(item)}</item>" for item in value)
    if isinstance(value, dict):
        return "".join(
            f"<{key}>{_nested(part)}</{key}>"
            if str(key).isidentifier()
            else f'<entry key="{_escaped(str(key)).replace(chr(34), "&quot;")}">{_nested(part)}</entry>'
            for key, part in value.items()
        )
    return "" if value is None else _escaped(str(value))


def _escaped(text: str) -> str:
    return _NOT_IN_XML.sub("", text).replace("&", "&amp;").replace("<", "&lt;")
