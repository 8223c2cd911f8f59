"""Finds secrets in data that leave a process, and replaces them by their names.

The module searches for each secret and its parts: the stripped text, its lines, the values of a JSON object, and a
URL's password. It finds a part that is written plainly, encoded in base64, or escaped as in Python, JSON, a URL or
HTML.
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
"""Length of the shortest secret that is searched for. Many texts contain a shorter one, such as "none".
"""
_SECRET_FIELD = re.compile(r"(key|secret|token|password|passwd|pwd|credentials?|authorization)$", re.I)
_WORD = re.compile(r"[\W_]*[A-Za-z]{1,15}[\W_]*")
"""Matches parts of secrets that may be ordinary words, such as "[default]" or "postgres". Such parts are not masked."""
_WORDS = frozenset({"kind", "outcome"})
"""Fields of a record's header that are not masked, because their values are words of the protocol."""
_BINARY = "utf8", "surrogateescape"

T = TypeVar("T")
Secrets = tuple[tuple[str, str], ...]
"""Pairs of a secret's name, for messages, and its value."""


def parts(secret: str) -> Iterator[tuple[str, str]]:
    """Yields the texts that user code may derive from a secret, each with a suffix for the secret's name."""
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
        if not line.startswith("-----"):  # the first and last lines of a key file are no secret
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
    """One text to search for, and its patterns.

    Attributes:
        anchor: the longest part of the text that no escaping changes. A fast search for it rules out most data.
    """

    name: str
    anchor: str
    text: re.Pattern[str]
    data: re.Pattern[bytes]


@functools.lru_cache(8)
def _forms(secrets: Secrets) -> list[_Form]:
    """Returns the texts to search for, the longest first, because one secret may be part of another."""
    found: dict[str, str] = {}
    for name, secret in secrets:
        for text in (secret, *(part for _, part in parts(secret))):
            if len(text) >= GUARDED_SECRET:
                found.setdefault(text, name)
                found.update((encoded, found[text]) for encoded in _base64(text) if encoded not in found)
    return [_form(name, text) for text, name in sorted(found.items(), key=lambda each: -len(each[0]))]


def _base64(text: str) -> Iterator[str]:
    """Yields the base64 forms of a text within longer data. They depend on the text's offset, so there are three."""
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
    """Returns a pattern for a character as it is, or escaped in Python, JSON, a URL or HTML."""
    if char.isascii() and char.isalnum():
        return char
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf8", "surrogatepass"))
    escapes = {json.dumps(char)[1:-1], repr(char)[1:-1], f"\\u{ord(char):04x}"}
    # A character that is escaped twice has more backslashes.
    ways = [re.escape(escape).replace(r"\\", r"\\+") for escape in sorted(escapes) if escape.startswith("\\")]
    ways += [re.escape(percent), re.escape(html.escape(char)), *([r"\+"] if char == " " else [])]
    return rf"(?:\\*{re.escape(char)}|(?i:{'|'.join(ways)}))"


def redact(text: str, secrets: Secrets) -> str:
    """Replaces the secrets in a text by their names. A provider's error may repeat the key that it refuses."""
    for form in _forms(secrets):
        if form.anchor in text:
            text = form.text.sub(lambda _, name=form.name: f"({name})", text)  # type: ignore[misc]
    return text


def secret_in(data: bytes, secrets: Secrets) -> str | None:
    """Returns the name of a secret that the data contain; None if they contain none."""
    found = (form.name for form in _forms(secrets) if form.anchor.encode() in data and form.data.search(data))
    return next(found, None)


def redacted(thing: Any, redact: Callable[[str], str]) -> Any:
    """Returns the JSON values of a record's header, with all texts redacted."""
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
    """Returns a copy of an object with all its texts redacted, or the object itself if it has no secret.

    Raises the errors of pickle. Raises ValueError if the copy differs in anything but secrets, or if a secret is
    outside of texts.
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
    """Sets the function with which `beginning` masks secrets in this process."""
    global _here
    _here = redact


def beginning(text: str, most: int) -> str:
    """Returns a text's first characters. It masks secrets before the cut, because half a secret would not be found."""
    return _here(text)[:most]
