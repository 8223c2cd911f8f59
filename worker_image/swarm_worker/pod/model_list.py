"""The process that lists the models of a provider. It imports neither DSPy nor user code.

It asks `GET <base>/models`, which OpenAI has made and most providers have. Anthropic's has other headers, and pages:
https://docs.anthropic.com/en/api/models-list
"""

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from swarm_wire import names
from swarm_wire.looks import MODEL_NAME, MOST_LISTED, ModelWatch
from swarm_wire.names import WorkerReason
from swarm_wire.words import printable, sentence
from swarm_worker.content import masking
from swarm_worker.errors import BadInput, ProviderFailed
from swarm_worker.pod.process import Process

PAUSES: Final = (1.0, 4.0)
"""Seconds before the second and the third try."""
TIMEOUT: Final = 30.0
MOST_BYTES: Final = 16 << 20
MOST_CHARACTERS: Final = 3000
"""Length of all names together, which travel in a termination message."""
_PASSING: Final = (408, 409, 425, 429)


def main(process: Process) -> None:
    with process.ending():
        watch = ModelWatch.model_validate_json(os.environ[names.ENV_WATCH])
        key = _key(watch)
        process.mask(lambda text: masking.redact(text, (("API key", key),) if key else ()))
        process.listed = listed(watch, key)
        process.say(f"{watch.base} has {len(process.listed)} models that fit {watch.pattern!r}")


def listed(watch: ModelWatch, key: str) -> list[str]:
    """Returns the provider's models that fit the pattern, as DSPy writes them, sorted.

    Raises BadInput, or ProviderFailed if another try may succeed.
    """
    found = {f"{watch.provider}/{_plain(name)}" for name in _names(watch, key)}
    if not found:
        # If this were a first list, all models of the next one would count as new.
        raise ProviderFailed(f"{watch.base} lists no models.")
    fitting = sorted(name for name in found if fnmatchcase(name.partition("/")[2], watch.pattern))
    fitting = [name for name in fitting if MODEL_NAME.fullmatch(name)]
    if len(fitting) > MOST_LISTED or sum(map(len, fitting)) > MOST_CHARACTERS:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"spec.models.pattern: {len(fitting)} models fit {watch.pattern!r}, and at most {MOST_LISTED} may. Write "
            "a narrower pattern.",
        )
    return fitting


def _key(watch: ModelWatch) -> str:
    if watch.secret is None:
        return ""
    key = os.environ.pop(names.api_key_env(watch.role), "").strip()
    if not key:
        raise BadInput(
            WorkerReason.MISSING_SECRET,
            f"{watch.field}.apiKey: key {watch.secret.key!r} of Secret {watch.secret.name!r} is empty.",
        )
    if not (key.isascii() and key.isprintable()):
        raise BadInput(
            WorkerReason.MISSING_SECRET,
            f"{watch.field}.apiKey: key {watch.secret.key!r} of Secret {watch.secret.name!r} is no API key: it has "
            "line breaks or other characters that HTTP does not take.",
        )
    return key


def _plain(name: str) -> str:
    """Returns a model's name without the folder that Gemini's list has before it."""
    return name.removeprefix("models/")


def _names(watch: ModelWatch, key: str) -> Iterator[str]:
    after, query = "", "?limit=1000" if watch.is_anthropic else ""
    while True:
        page = _got(watch, key, f"{query}{after}")
        models = page.get("data") if isinstance(page, dict) else page
        if not isinstance(models, list):
            raise _no_list(watch, "it answers something else")
        yield from (model["id"] for model in models if isinstance(model, dict) and isinstance(model.get("id"), str))
        has_more = watch.is_anthropic and isinstance(page, dict) and page.get("has_more")
        last = page.get("last_id") if has_more else None
        if not isinstance(last, str) or after == (after := f"&after_id={quote(last, safe='')}"):
            return


def _got(watch: ModelWatch, key: str, query: str) -> Any:
    url, why = f"{watch.base}/models{query}", ""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            request = Request(url, headers={"Accept": "application/json", **_headers(watch, key)})
            with _opener().open(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read(MOST_BYTES))
        except HTTPError as error:
            said = printable(error.read(2000).decode(errors="replace"))[:300]
            if error.code in (401, 403):
                what = f"the API key of {watch.field}" if key else f"a list without a key. Write {watch.field}.apiKey"
                told = f"{watch.base} refuses {what}: {error.code} {sentence(said)}"
                raise BadInput(WorkerReason.CREDENTIALS_REJECTED, told) from None
            if error.code < 500 and error.code not in _PASSING:
                raise _no_list(watch, f"it answers {error.code} {said}".strip()) from None
            why = f"{error.code} {said}"
        except ValueError:
            raise _no_list(watch, "it does not answer with JSON") from None
        except (URLError, HTTPException, OSError) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
    raise ProviderFailed(f"{watch.base} does not list its models: {sentence(why)}")


def _no_list(watch: ModelWatch, why: str) -> BadInput:
    return BadInput(
        WorkerReason.REQUEST_REFUSED,
        f"{watch.base}/models is no list of models: {sentence(why)} Correct {watch.field}.endpoint, or remove "
        "spec.models.",
    )


def _headers(watch: ModelWatch, key: str) -> Mapping[str, str]:
    if watch.is_anthropic:
        return {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
    return {"Authorization": f"Bearer {key}"} if key else {}


class _Staying(HTTPRedirectHandler):
    """Follows no redirection, which would show the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> Any:
    return build_opener(_Staying(), HTTPSHandler(context=ssl.create_default_context()))
