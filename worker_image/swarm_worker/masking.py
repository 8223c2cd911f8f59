"""Secrets in what leaves a process: where they are, however they are written, and what is told in their place.

A secret is looked for as it is, and in its parts: without the blanks around it, its lines, what a JSON object holds,
the password of a URL. Each may be in quotes, in JSON, in a URL, in HTML, or in base64.
"""

import base64
import functools
import html
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

GUARDED_SECRET = 8
"""Shorter secrets are not searched for: a placeholder such as "none" is part of many texts."""
_SECRET_FIELD = re.compile(r"(key|secret|token|password|passwd|pwd|credentials?|authorization)$", re.I)
_WORD = re.compile(r"[\W_]*[A-Za-z]{1,15}[\W_]*")
"""A part of a secret that may be any word: "[default]", or the password "postgres"."""
_WORDS = frozenset({"kind", "outcome"})
"""Fields of a header that hold a word of the protocol."""
_BINARY = "utf8", "surrogateescape"

T = TypeVar("T")
Secrets = tuple[tuple[str, str], ...]
"""What it is, for people, and the value."""


def parts(secret: str) -> Iterator[tuple[str, str]]:
    """What user code may make of a secret, each with how it is made."""
    yield ", stripped", secret.strip()
    yield from ((step, part) for step, part in _pieces(secret) if not _WORD.fullmatch(part))


def _pieces(secret: str) -> Iterator[tuple[str, str]]:
    if (whole := _parsed(secret)) is not None:
        for path, leaf in _leaves(whole, is_secret=True):
            yield f" at {path}", leaf
            yield from ((f" at {path}{step}", part) for step, part in _lines(leaf))
    else:
        yield from _lines(secret)
    if (password := _password(secret)) is not None:
        yield ", password", unquote(password)
        yield ", password as written", password


def _lines(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    for number, line in enumerate(lines if len(lines) > 1 else (), 1):
        if not line.startswith("-----"):  # the first and last of a key file, which are no secret
            yield f", line {number}", line.strip()


def _parsed(secret: str) -> Any:
    try:
        return json.loads(secret) if secret.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return None


def _leaves(thing: Any, path: str = "", *, is_secret: bool) -> Iterator[tuple[str, str]]:
    match thing:
        case dict():
            for name, value in thing.items():
                yield from _leaves(value, f"{path}.{name}", is_secret=_SECRET_FIELD.search(name) is not None)
        case list():
            for number, value in enumerate(thing):
                yield from _leaves(value, f"{path}[{number}]", is_secret=is_secret)
        case str() if is_secret:
            yield path, thing


def _password(secret: str) -> str | None:
    try:
        return urlsplit(secret.strip()).password if "://" in secret else None
    except ValueError:
        return None


@dataclass(frozen=True)
class _Form:
    """One text to look for.

    Attributes:
        anchor: part of it that is the same however it is written. Most texts do not have it, which is soon seen.
    """

    name: str
    anchor: str
    text: re.Pattern[str]
    data: re.Pattern[bytes]


@functools.lru_cache(8)
def _forms(secrets: Secrets) -> list[_Form]:
    """The longest first: one secret may be part of another."""
    found: dict[str, str] = {}
    for name, secret in secrets:
        for text in (secret, *(part for _, part in parts(secret))):
            if len(text) >= GUARDED_SECRET:
                found.setdefault(text, name)
                found.update((encoded, found[text]) for encoded in _base64(text) if encoded not in found)
    return [_form(name, text) for text, name in sorted(found.items(), key=lambda each: -len(each[0]))]


def _base64(text: str) -> Iterator[str]:
    """What all base64 has that encodes a text with the secret in it, wherever in it that begins."""
    data = text.encode("utf8", "surrogatepass")
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode()
        inner = whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield inner
        yield inner.translate({ord("+"): "-", ord("/"): "_"})


def _form(name: str, text: str) -> _Form:
    pattern = "".join(map(_written, text))
    return _Form(
        name,
        max(re.findall("[A-Za-z0-9]*", text), key=len),
        re.compile(pattern),
        re.compile(pattern.encode("utf8", "surrogatepass")),
    )


@functools.cache
def _written(char: str) -> str:
    """A pattern of the ways to write a character: as it is, or escaped in Python, JSON, URL or HTML."""
    if char.isascii() and char.isalnum():
        return char
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf8", "surrogatepass"))
    escapes = {json.dumps(char)[1:-1], repr(char)[1:-1], f"\\u{ord(char):04x}"}
    # What is escaped twice has more backslashes.
    ways = [re.escape(escape).replace(r"\\", r"\\+") for escape in sorted(escapes) if escape.startswith("\\")]
    ways += [re.escape(percent), re.escape(html.escape(char)), *([r"\+"] if char == " " else [])]
    return rf"(?:\\*{re.escape(char)}|(?i:{'|'.join(ways)}))"


def redact(text: str, secrets: Secrets) -> str:
    """The text for people: what a provider says of a key that it refuses may repeat the key."""
    for form in _forms(secrets):
        if form.anchor in text:
            text = form.text.sub(lambda _, name=form.name: f"({name})", text)  # type: ignore[misc]
    return text


def secret_in(data: bytes, secrets: Secrets) -> str | None:
    """The name of a secret that is there."""
    found = (form.name for form in _forms(secrets) if form.anchor.encode() in data and form.data.search(data))
    return next(found, None)


def redacted(thing: Any, redact: Callable[[str], str]) -> Any:
    """JSON values of a record's header, with all their texts redacted."""
    match thing:
        case str():
            return redact(thing)
        case list():
            return [redacted(part, redact) for part in thing]
        case dict():
            return {name: part if name in _WORDS else redacted(part, redact) for name, part in thing.items()}
        case _:
            return thing


def copied(thing: T, redact: Callable[[str], str]) -> T:
    """A copy of an object with all its texts redacted; the object itself where its copy is as good.

    Raises whatever pickle raises, and ValueError where it is not copied as it is, or a secret is in what is no text.
    """
    buffer = io.BytesIO()
    pickler = _Texts(buffer, redact)
    pickler.dump(thing)
    copy: T = _Redacted(io.BytesIO(buffer.getvalue())).load()
    data = buffer.getvalue().decode(*_BINARY)
    if redact(data) != data:
        raise ValueError("a secret is in what is no text")
    if type(copy) is not type(thing) or str(copy) != redact(str(thing)):
        raise ValueError("its copy is something else")
    return copy if pickler.has_redacted else thing


class _Texts(pickle.Pickler):
    def __init__(self, file: io.BytesIO, redact: Callable[[str], str]) -> None:
        super().__init__(file)
        self._redact, self.has_redacted = redact, False

    def persistent_id(self, thing: Any) -> str | bytes | None:
        told: str | bytes
        if type(thing) is str:
            told = self._redact(thing)
        elif type(thing) is bytes:
            told = self._redact(thing.decode(*_BINARY)).encode(*_BINARY)
        else:
            return None
        if told == thing:
            return None
        self.has_redacted = True
        return told


class _Redacted(pickle.Unpickler):
    def persistent_load(self, told: str | bytes) -> str | bytes:
        return told


_here: Callable[[str], str] = str


def install(redact: Callable[[str], str]) -> None:
    """Makes this the redaction of what `beginning` cuts in this process."""
    global _here
    _here = redact


def beginning(text: str, most: int) -> str:
    """So many characters of a text for people. Redacted before it is cut: half a secret is not found any more."""
    return _here(text)[:most]
