"""Calls a JSON API with a token: it tries again after passing failures, and shows the token to one server only."""

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from swarm_git.errors import GitError, Place, credentials_rejected, refused, unreachable
from swarm_wire.words import sentence

PAUSES = (1.0, 4.0)
"""Seconds before the second and the third try."""
LONGEST_PAUSE = 30.0
"""A server that asks for a longer pause, in seconds, gets no other try from this process."""
TIMEOUT = 30.0
"""Seconds without a byte from the server, after which a try has failed."""
MOST_BYTES = 64 << 20
"""A longer answer is not that of the API: a page of 100 requests with the longest bodies has 7 MB."""
SHOWN = 300
"""How many characters of a server's own words a message shows."""
_MOVED = (301, 307, 308)
"""These mean that the same call belongs elsewhere. A 302 or 303 mostly leads to a page for signing in."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Refusal(Exception):
    """The server has understood the call, and answers with an error or a redirection.

    Attributes:
        status: HTTP status: 3xx or 4xx.
        said: the server's words on one line, without the token; maybe empty.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status} {said}".strip())
        self.status = status
        self.said = said


class _PassingError(Exception):
    """Another try may succeed. `wait` is how many seconds the server asks to wait, or 0."""

    def __init__(self, message: str, wait: float = 0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """An answer without an error.

    Attributes:
        value: the JSON of the body.
        has_next: whether the API has a further page, by the header Link (RFC 8288).
    """

    value: Any
    has_next: bool


class HttpApi:
    """A JSON API at one address, and the token for it.

    Args:
        url: where paths of the API begin.
        place: what messages say about the repository.
        token: it is masked in all errors.
        headers: sent with each call. They carry the token.
        ca_file: certificates to trust in place of the system's, as git's `http.sslCAInfo` does.

    Raises:
        GitError: the URL would show the token to others, `token` cannot be one, or `ca_file` has no certificate.
    """

    def __init__(self, url: str, place: Place, token: str, headers: Mapping[str, str], ca_file: Path | None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            fault = f"{url} would send the token unencrypted. Write an https:// URL into {place.field}.pullRequest.api"
            raise refused(place, fault)
        if not token:
            fault = (
                f"{place.held} has no token, and {place.wanted} needs one. Put it into the key password or bearerToken"
            )
            raise credentials_rejected(place, fault)
        if not token.isascii() or not token.isprintable():
            # http.client would name the token in its own error.
            fault = f"the token in {place.held} is not one line of printable ASCII characters"
            raise credentials_rejected(place, fault)
        self._place = place
        self.url = url.rstrip("/")
        self._token = token
        self._headers = {"User-Agent": "dspy-swarm", **headers}
        self._opener = build_opener(HTTPSHandler(context=_trust(ca_file, place)), _WithinOneServer())

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """Makes a call, at most three times.

        Args:
            path: below the API's address; its parts are already percent-encoded.
            body: sent as JSON; None: the call has no body.

        Raises:
            Refusal: the server answers with a status of 3xx or 4xx.
            GitError: the server cannot be reached, fails, asks to wait too long, or does not answer with JSON.
        """
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": "application/json"} if data is not None else {})
        request = Request(url, data=data, headers=dict(headers), method=method)
        for pause in (*PAUSES, None):
            try:
                return self._once(request)
            except _PassingError as failure:
                if pause is None or failure.wait > LONGEST_PAUSE:
                    raise self._unanswered(failure) from failure
                time.sleep(max(pause, failure.wait))
        raise AssertionError("the last try either returns or raises")

    def _once(self, request: Request) -> Answer:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                text = answer.read(MOST_BYTES)
                return Answer(json.loads(text), 'rel="next"' in answer.headers.get("Link", ""))
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise self._untrusted(error.reason) from error
            raise _PassingError(str(error.reason)) from error
        except (OSError, HTTPException) as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        except ValueError as error:
            fault = f"{self.url} does not answer with JSON, so it is not an API. Check {self._place.field}.pullRequest"
            raise refused(self._place, fault) from error

    def _refused(self, error: HTTPError) -> Exception:
        try:
            said = _words(error.read(MOST_BYTES))
        except (OSError, HTTPException):
            said = ""
        said = said.replace(self._token, "***")
        status, headers = error.code, error.headers
        if status >= 500 or status == 429 or (status == 403 and _is_throttled(said, headers)):
            return _PassingError(f"{status} {said or error.reason}", _asked_wait(headers))
        if status < 400:
            place = urlsplit(headers.get("Location", ""))
            said = f"it redirects to {place.scheme}://{place.netloc}{place.path}".replace(self._token, "***")
        return Refusal(status, said)

    def _unanswered(self, failure: _PassingError) -> GitError:
        waiting = f" It asks to wait {failure.wait:.0f} seconds." if failure.wait > LONGEST_PAUSE else ""
        return unreachable(self._place, f"{self.url} does not answer as it should: {sentence(str(failure))}{waiting}")

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> GitError:
        return credentials_rejected(
            self._place,
            f"the certificate of {self.url} cannot be verified: {error.verify_message}. If the server has a CA of your "
            f"own, put the CA's certificate into the key ca.crt of {self._place.held}",
        )


class _WithinOneServer(HTTPRedirectHandler):
    """Follows a moved repository on the same server, with the same method. Elsewhere the token never goes."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if code not in _MOVED or (old.scheme, old.netloc) != (new.scheme, new.netloc):
            return None
        return Request(newurl, data=req.data, headers=req.headers, method=req.get_method())


def _trust(ca_file: Path | None, place: Place) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise credentials_rejected(place, f"ca.crt of {place.held} has no certificate in PEM form: {error}") from error


def _is_throttled(said: str, headers: Message) -> bool:
    """Returns whether a 403 is only GitHub's way to ask for a pause.

    Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    return "Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0" or "rate limit" in said.lower()


def _asked_wait(headers: Message) -> float:
    """Returns for how many seconds the server asks to wait; 0 if it does not say."""
    asked = headers.get("Retry-After")
    try:
        if asked:
            return float(asked) if asked.strip().isdigit() else parsedate_to_datetime(asked).timestamp() - time.time()
        if headers.get("X-RateLimit-Remaining") == "0":
            return float(headers.get("X-RateLimit-Reset", "")) - time.time()
    except ValueError:
        pass
    return 0


def _words(body: bytes) -> str:
    """Returns the message in the JSON body of an error, on one line; empty if the body is no JSON, such as a page."""
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return _line(value)
    found = [value.get(key) for key in ("message", "error_description", "error")]
    first = next((_line(each) for each in found if each), "")
    details = [_detail(each) for each in value.get("errors") or [] if each]
    return ": ".join(part for part in (first, "; ".join(details)) if part)[:SHOWN]


def _detail(error: Any) -> str:
    """Returns one of GitHub's `errors`: it has a message, or only a field and a code."""
    if not isinstance(error, dict):
        return _line(error)
    return _line(error.get("message") or f"{error.get('field')} is {error.get('code')}")


def _line(value: Any) -> str:
    """Returns a text, a list of texts, or GitLab's dict of lists, on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {_line(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "; ".join(_line(each) for each in value)
    return " ".join(str(value).split())[:SHOWN]
