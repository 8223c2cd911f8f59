"""Fetches files of data from their URLs by fsspec. It imports neither DSPy nor user code."""

import hashlib
import math
import re
import ssl
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from swarm_wire.messages import Snapshot
from swarm_wire.names import WorkerReason, url_options_env
from swarm_wire.records import Record, RecordKind
from swarm_wire.snapshots import PART_BYTES
from swarm_wire.spec.data import SETS, Data
from swarm_wire.words import sentence
from swarm_worker.content import masking
from swarm_worker.content.storage_options import parsed_options, secrets_in
from swarm_worker.errors import BadInput, DataUnreachable, SwarmError, causes
from swarm_worker.user.formats import READERS

MOST_BYTES: Final = 900 * 2**20
"""Largest size of all files of a run together. A pod has 1 GiB for temporary files."""
PAUSES: Final = (1.0, 2.0, 4.0)
"""Seconds before each retry, so that a brief failure of a server ends no process."""
CONNECT_SECONDS, READ_SECONDS = 30, 120
"""How long an https server may take to answer, and between two pieces of a file."""
PACKAGES: Final[Mapping[str, str]] = {
    "https": "aiohttp",
    "hf": "huggingface-hub",
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}
"""The package with fsspec's file system of each scheme."""
REVISIONS: Final = ("VersionId", "generation", "ETag", "etag", "blob_id")
"""Names that fsspec's file systems give to the state of a file. The first that a file has is its revision."""
_STATE: Final = (
    *REVISIONS,
    "size",
    "Content-MD5",
    "Digest",
    "Last-Modified",
    "LastModified",
    "updated",
    "last_modified",
)
_DENIED, _MISSING, _PASSING = (401, 403, 407), (404, 410), (408, 425, 429)
_QUERY: Final = re.compile(r"(\b\w+://[^\s'\"?]*)\?[^\s'\")]*")


class _Changed(Exception):
    """The file has changed while it was read."""


@dataclass(frozen=True)
class Fetched:
    """A file on this machine, and where it comes from.

    Attributes:
        of: the field of spec.data, such as train.
        url: the URL without its query.
        revision: what the server calls this state of the file; empty if it has no name for it.
    """

    of: str
    url: str
    path: Path
    size: int
    sha256: str
    revision: str

    def records(self, part_bytes: int = PART_BYTES) -> Iterator[Record]:
        """Yields the records that carry the file."""
        parts = max(1, math.ceil(self.size / part_bytes))
        head = {"of": self.of, "url": self.url, "revision": self.revision, "sha256": self.sha256}
        with self.path.open("rb") as file:
            for part in range(parts):
                header = Snapshot.model_validate({**head, "part": part, "parts": parts, "files": 1})
                yield Record(RecordKind.SNAPSHOT, header.to_header(), file.read(part_bytes))


def take_options(environment: MutableMapping[str, str], data: Data) -> dict[str, str]:
    """Returns the options for the URLs of data as JSON, by their fields. Removes them from the environment."""
    found = {name: environment.pop(url_options_env(name), "") for name in SETS}
    return {name: text for name, text in found.items() if text and name in data.urls}


class Urls:
    """The files that a spec names by URLs.

    Args:
        options: options of the file systems as JSON, by their fields in spec.data.

    Raises BadInput if options are not a JSON object, or if the format of a file is unknown.
    """

    def __init__(self, data: Data, options: Mapping[str, str]) -> None:
        self._files = [_Url(of, url, options.get(of, "")) for of, url in data.urls.items()]

    def redact(self, text: str) -> str:
        """Masks the values of all options in a text, because they may be secrets."""
        return masking.redact(text, tuple(secret for file in self._files for secret in file.secrets))

    def fetch(self, folder: Path) -> list[Fetched]:
        """Fetches the files into a folder. Raises BadInput, or DataUnreachable if another attempt may succeed."""
        room, found = MOST_BYTES, list[Fetched]()
        for file in self._files:
            found.append(file.fetch(folder / file.of, room))
            room -= found[-1].size
        return found


class _Url:
    """A file at a URL.

    Args:
        of: the field of spec.data, such as train.
        options: options of the file system as JSON; empty without options.
    """

    def __init__(self, of: str, url: str, options: str) -> None:
        self.of, self._url = of, url
        self._where, self._held = f"spec.data.{of}.url", f"spec.data.{of}.options"
        self._shown = re.split("[?#]", url)[0]
        self._options = parsed_options(options, self._held)
        self.secrets = secrets_in(self._options, self._held.removeprefix("spec."))
        path = PurePosixPath(urlsplit(url).path)
        if path.suffix not in READERS:
            raise self._bad(f"{path.name or url} must end in {', '.join(READERS)}")

    def fetch(self, target: Path, room: int) -> Fetched:
        """Copies the file to `target`.

        Args:
            room: largest size in bytes.

        Raises BadInput, or DataUnreachable if another attempt may succeed.
        """
        system, path = self._opened()
        for pause in (*PAUSES, None):
            try:
                return self._copied(system, path, target, room)
            except Exception as error:
                told = self._told(error)
                if pause is None or isinstance(told, BadInput):
                    raise told from None
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _opened(self) -> tuple[Any, str]:
        """Returns the file system, and the file's path in it."""
        # Imported only here, because most processes fetch nothing.
        import fsspec

        scheme = self._url.partition(":")[0]
        try:
            # Not url_to_fs, which also follows chains of URLs such as "https://a::file:///b".
            system = fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            package = PACKAGES[scheme]
            raise BadInput(
                WorkerReason.PACKAGE_MISSING,
                f"{self._where}: {scheme}:// needs the package {package}, which cannot be imported "
                f"({sentence(str(error)).rstrip('.')}). Install it into the worker image (on a laptop: pip install "
                f"{package}); see docs/sources.md.",
            ) from None
        try:
            given = {**system._get_kwargs_from_urls(self._url), **self._options}
            if scheme == "https":
                given["get_client"] = _session
            return system(skip_instance_cache=True, **given), system._strip_protocol(self._url)
        except Exception as error:
            raise self._bad(f"the options cannot be used: {self._quoted(error)}") from None

    def _copied(self, system: Any, path: str, target: Path, room: int) -> Fetched:
        before = self._info(system, path)
        if (before.get("size") or 0) > room:
            raise self._too_large()
        if self._url.startswith("https:"):
            # Only an https server may leave the size open, or send more than it says.
            system.get_file(path, str(target), callback=_bound(room, self._too_large()))
        else:
            system.get_file(path, str(target))
        after, size = self._info(system, path), target.stat().st_size
        if before != after or after.get("size", size) != size:
            raise _Changed
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        revision = next((str(after[name]) for name in REVISIONS if after.get(name)), "")[:256]
        return Fetched(self.of, self._shown, target, size, digest, revision)

    def _info(self, system: Any, path: str) -> dict[str, Any]:
        """Returns what the server says about the state of the file."""
        system.invalidate_cache()
        found = system.info(path)
        if found.get("type") == "directory":
            raise self._bad(f"{self._shown} is a folder: name a file")
        return {name: found[name] for name in _STATE if found.get(name) is not None}

    def _told(self, error: Exception) -> SwarmError:
        """Returns the error that a failure means. Only a failure that may pass is no BadInput."""
        chain = list(causes(error))
        for cause in chain:
            if isinstance(cause, SwarmError):
                return cause
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._bad(
                    f"the certificate of {self._host} is not trusted: {self._quoted(chain[-1])}. If it is of a CA of "
                    "your own, let SSL_CERT_FILE name a file with this CA, in the image or in your shell"
                )
        if isinstance(error, _Changed):
            return self._unreachable(f"{self._shown} changes again and again while it is read")
        status = next(filter(None, map(_status, chain)), None)
        # fsspec calls any failure of an https server FileNotFoundError, and only the first cause tells the truth.
        first = chain[-1]
        if status in _DENIED or (status is None and isinstance(first, PermissionError)):
            return self._denied()
        if status in _MISSING or (status is None and isinstance(first, FileNotFoundError)):
            return self._bad(
                f"there is no file {self._shown}, or the server does not show it {self._credentials}. Check the URL, "
                "and what the credentials may read"
            )
        if isinstance(first, TypeError):
            return self._bad(f"the options cannot be used: {self._quoted(first)}")
        if status is None:
            return self._unreachable(f"{self._shown} cannot be read: {self._quoted(first)}")
        if 400 <= status < 500 and status not in _PASSING:
            return self._bad(f"{self._host} refuses the request for {self._shown} with status {status}")
        return self._unreachable(f"{self._host} answers with status {status} to the request for {self._shown}")

    def _denied(self) -> BadInput:
        if self._options:
            return self._bad(
                f"{self._host} does not let the credentials in {self._held} read {self._shown}. They are wrong or "
                "expired, or lack the right to read this file. Put valid ones into the Secret"
            )
        return self._bad(
            f"{self._host} wants credentials for {self._shown}. Put the options of the fsspec file system into a "
            f"Secret, and name it in {self._held}"
        )

    @property
    def _credentials(self) -> str:
        return f"to the credentials in {self._held}" if self._options else "without credentials"

    @property
    def _host(self) -> str:
        parts = urlsplit(self._url)
        if parts.scheme == "hf":
            return "the Hugging Face hub"
        return parts.netloc if parts.scheme == "https" else f"{parts.scheme}://{parts.netloc}"

    def _too_large(self) -> BadInput:
        return self._bad(
            f"{self._shown} is too large: all files from URLs may have {MOST_BYTES // 2**20} MiB together. Put it on "
            f"a volume (data.{self.of}.volume)"
        )

    def _bad(self, what: str) -> BadInput:
        return BadInput(WorkerReason.DATA_INVALID, f"{self._where}: {self._clean(sentence(what))}")

    def _unreachable(self, what: str) -> DataUnreachable:
        return DataUnreachable(f"{self._where}: {self._clean(sentence(what))}")

    def _quoted(self, error: BaseException) -> str:
        return sentence(f"{type(error).__name__}: {error}").rstrip(".")[:500]

    def _clean(self, text: str) -> str:
        """Masks the options, and removes queries of URLs: a server may redirect to a URL with a signature."""
        return _QUERY.sub(r"\1", masking.redact(text, self.secrets))


def _status(error: BaseException) -> int | None:
    """Returns the HTTP status of an error; None if it has none. Each file system's package has its own form."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):  # botocore
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) else None
    # aiohttp gives the code 400 to an answer that is cut off.
    fields = ("status",) if type(error).__module__.startswith("aiohttp.") else ("status", "status_code", "code")
    for of in (error, answer):
        for name in fields:
            found = getattr(of, name, None)
            if isinstance(found, int) and 100 <= found < 600:
                return found
    return None


async def _session(**given: Any) -> Any:
    """Returns a session of aiohttp. Its usual limit for a whole file, 5 minutes, is too low for large files."""
    import aiohttp

    async def redirected(session: Any, context: Any, params: Any) -> None:
        if params.response.headers.get("Location", "").lower().startswith("http://"):
            raise BadInput(
                WorkerReason.DATA_INVALID,
                f"{params.url.host} redirects to http://, where anybody could read and alter the file. Use a URL that "
                "stays with https.",
            )

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(redirected)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    # aiohttp's own TLS settings are from the time of its import, and SSL_CERT_FILE may have been set since.
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    usual = {"timeout": timeout, "trust_env": True, "trace_configs": [tracing], "connector": connector}
    return aiohttp.ClientSession(**{**usual, **given})


def _bound(most: int, error: BadInput) -> Any:
    """Returns a callback for fsspec that raises the error when more bytes arrive."""
    from fsspec.callbacks import Callback

    class Bound(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > most:
                raise error

    return Bound()
