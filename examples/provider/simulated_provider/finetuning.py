"""The fine-tuning API of OpenAI's protocol: files, jobs, events, checkpoints. Its forms are those of
https://platform.openai.com/docs/api-reference/fine-tuning and .../files.

A tuned model has learned the pairs of question and answer in its training rows. So it is better as far as these rows
are right, and worse if they are wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from simulated_provider.brain import Model
from simulated_provider.errors import ApiError
from simulated_provider.prompts import Demo, PromptError, parse
from simulated_provider.trainer import SIMULATED

LEAST_ROWS = 10
PAGE = 20
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
WRITES = frozenset({"ok", "error", "error after", "drop", "drop after", "hang after", "limit"})
"""What may happen to a write: an error or a lost connection before it is done or after it, no answer, or status 429."""


@dataclass
class Rules:
    """How fast jobs are, and what goes wrong. The times are in seconds."""

    queue: float = 0.0
    """How long a job waits before it runs."""
    training: float = 0.0
    """How long a job runs."""
    writes: list[str] = field(default_factory=list)
    """What happens to the next writes, one after the other. Further writes succeed."""
    ignores_filter: bool = False
    """Whether lists of jobs ignore the filter by metadata."""
    status: str = ""
    """The status of jobs under way, in place of the documented ones."""
    fails: str = ""
    """The code of the error with which jobs end, such as `server_error`."""
    lost: bool = False
    """Whether jobs under way are no longer there."""
    forgets_metadata: bool = False
    """Whether jobs have no metadata, as with some providers of the protocol."""
    deleted: bool = False
    """Whether somebody has deleted the tuned models."""
    retires: int = 0
    """When models are retired, in seconds since 1970; 0 for never."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Rules:
        known = {each.name: each for each in dataclasses.fields(cls)}
        if unknown := given.keys() - known.keys():
            raise ApiError(400, f"unknown rules: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
        rules = cls(**given)
        if set(rules.writes) - WRITES:
            raise ApiError(400, f"'writes' may have {', '.join(sorted(WRITES))}")
        return rules


@dataclass
class File:
    """An uploaded file."""

    id: str
    name: str
    data: bytes
    purpose: str
    created: float

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": int(self.created),
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass
class Job:
    """A fine-tuning job. What it is at a time follows from when it began, and from the rules at that time."""

    id: str
    base: str
    file: str
    given: Mapping[str, Any]
    created: float
    queue: float
    training: float
    rows: list[list[Mapping[str, Any]]]
    tokens: int
    error: dict[str, Any] | None = None
    ended: float | None = None
    cancelled: bool = False

    @property
    def model(self) -> str:
        suffix = str(self.given.get("suffix") or "")
        return ":".join(["ft", self.base, "simulated", suffix, self.id[-8:]])

    @property
    def epochs(self) -> int:
        method = self.given.get("method") or {}
        nested = (method.get(method.get("type") or "") or {}).get("hyperparameters") or {}
        epochs = {**(self.given.get("hyperparameters") or {}), **nested}.get("n_epochs", "auto")
        return 3 if epochs == "auto" else int(epochs)

    def status(self, now: float) -> str:
        if self.cancelled:
            return "cancelled"
        if now < self.created + self.queue / 2:
            return "validating_files"
        if self.error is not None:
            return "failed"
        if now < self.created + self.queue:
            return "queued"
        return "running" if now < self.created + self.queue + self.training else "succeeded"

    def shown(self, now: float, other_word: str = "") -> dict[str, Any]:
        status = self.status(now)
        is_done = status == "succeeded"
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "created_at": int(self.created),
            "finished_at": int(self.created + self.queue + self.training) if status in TERMINAL else None,
            "model": self.base,
            "fine_tuned_model": self.model if is_done else None,
            "organization_id": "org-simulated",
            "status": status if status in TERMINAL or not other_word else other_word,
            "training_file": self.file,
            "validation_file": None,
            "result_files": [],
            "hyperparameters": {"n_epochs": self.epochs},
            "method": self.given.get("method"),
            "seed": self.given.get("seed", 0),
            "trained_tokens": self.tokens * self.epochs if is_done else None,
            "error": self.error if status == "failed" else None,
            "metadata": self.given.get("metadata"),
            "user_provided_suffix": self.given.get("suffix"),
        }


class FineTuning:
    """Serves the endpoints.

    Args:
        models: the provider's models by name. A finished job adds one.
        authorize: raises ApiError if a request lacks its key.
    """

    def __init__(self, models: dict[str, Model], authorize: Callable[[web.Request], None]) -> None:
        self._models, self._authorize = models, authorize
        self._files: dict[str, File] = {}
        self._jobs: dict[str, Job] = {}
        self._rules, self._ahead, self._calls = Rules(), 0.0, 0

    def add_to(self, app: web.Application) -> None:
        routes = app.router
        routes.add_post("/v1/files", self._upload)
        routes.add_get("/v1/files", self._list_files)
        routes.add_get("/v1/files/{id}", self._show_file)
        routes.add_get("/v1/files/{id}/content", self._content)
        routes.add_delete("/v1/files/{id}", self._delete_file)
        routes.add_post("/v1/fine_tuning/jobs", self._create)
        routes.add_get("/v1/fine_tuning/jobs", self._list_jobs)
        routes.add_get("/v1/fine_tuning/jobs/{id}", self._show_job)
        routes.add_post("/v1/fine_tuning/jobs/{id}/cancel", self._cancel)
        routes.add_get("/v1/fine_tuning/jobs/{id}/events", self._events)
        routes.add_get("/v1/fine_tuning/jobs/{id}/checkpoints", self._checkpoints)
        routes.add_post("/v1/load_lora_adapter", self._load)
        routes.add_put("/admin/fine_tuning", self._put_rules)
        routes.add_get("/admin/fine_tuning", self._state)
        routes.add_post("/admin/clock", self._advance)

    def refresh(self) -> None:
        """Adds the models of jobs that have succeeded."""
        for job in self._jobs.values():
            if job.status(self._now) == "succeeded" and job.model not in self._models:
                base = self._models[job.base]
                lessons = (*base.lessons, *_lessons(job.rows))
                self._models[job.model] = dataclasses.replace(base, name=job.model, lessons=lessons)
            if self._rules.deleted:
                self._models.pop(job.model, None)

    @property
    def retirement(self) -> dict[str, int]:
        """Returns the field of a model's object that says when the model is retired; empty if it never is."""
        return {"shutdown_date": self._rules.retires} if self._rules.retires else {}

    @property
    def _now(self) -> float:
        return time.time() + self._ahead

    # --- files ------------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        self._authorize(request)
        form = await request.post()
        sent, purpose = form.get("file"), form.get("purpose")
        if not isinstance(sent, web.FileField) or purpose != "fine-tune":
            raise ApiError(400, "'file' and 'purpose': 'fine-tune' are required.", param="file")
        data = sent.file.read()

        def write() -> dict[str, Any]:
            file = File(f"file-{len(self._files) + 1:08d}", sent.filename, data, str(purpose), self._now)
            self._files[file.id] = file
            return file.shown()

        return await self._written(request, write)

    async def _list_files(self, request: web.Request) -> web.Response:
        self._authorize(request)
        purpose = request.query.get("purpose")
        found = [file.shown() for file in reversed(self._files.values()) if purpose in (None, file.purpose)]
        return _page(found, request)

    async def _show_file(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response(self._file(request).shown())

    async def _content(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.Response(body=self._file(request).data)

    async def _delete_file(self, request: web.Request) -> web.Response:
        self._authorize(request)
        file = self._file(request)
        del self._files[file.id]
        return web.json_response({"id": file.id, "object": "file", "deleted": True})

    def _file(self, request: web.Request) -> File:
        id_ = request.match_info["id"]
        if id_ not in self._files:
            raise ApiError(404, f"No such File object: {id_}", param="id")
        return self._files[id_]

    # --- jobs -------------------------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        self._authorize(request)
        try:
            given = json.loads(await request.read())
            base, file = given["model"], self._files[given["training_file"]]
        except (ValueError, TypeError):
            raise ApiError(400, "The body must be a JSON object.") from None
        except KeyError as missing:
            raise ApiError(400, f"'model' or 'training_file' is missing or unknown: {missing}") from None
        self.refresh()
        if base not in self._models:
            raise ApiError(400, f"Model {base} is not available for fine-tuning.", code="model_not_available")
        rows, error = _rows(file.data)
        if self._rules.fails:
            error = {"code": self._rules.fails, "message": "The job has failed.", "param": None}

        def write() -> dict[str, Any]:
            job = Job(
                id=f"ftjob-{len(self._jobs) + 1:08d}",
                base=base,
                file=file.id,
                given=given,
                created=self._now,
                queue=self._rules.queue,
                training=self._rules.training,
                rows=rows,
                tokens=sum(len(str(message.get("content"))) for row in rows for message in row) // 4,
                error=error,
            )
            self._jobs[job.id] = job
            return job.shown(self._now)

        return await self._written(request, write)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        self._authorize(request)
        wanted = {
            name[len("metadata[") : -1]: value for name, value in request.query.items() if name.startswith("metadata[")
        }
        found = []
        for job in reversed(self._jobs.values()):
            told = {} if self._rules.forgets_metadata else job.given.get("metadata") or {}
            if self._rules.ignores_filter or all(told.get(name) == value for name, value in wanted.items()):
                found.append(self._shown(job))
        return _page([] if self._rules.lost else found, request)

    async def _show_job(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return web.json_response(self._shown(self._job(request)))

    def _shown(self, job: Job) -> dict[str, Any]:
        shown = job.shown(self._now, self._rules.status)
        return {**shown, "metadata": None} if self._rules.forgets_metadata else shown

    async def _cancel(self, request: web.Request) -> web.Response:
        self._authorize(request)
        job = self._job(request)
        if job.status(self._now) in TERMINAL:
            raise ApiError(400, f"Job {job.id} has ended.")
        job.cancelled = True
        return web.json_response(job.shown(self._now))

    async def _events(self, request: web.Request) -> web.Response:
        self._authorize(request)
        job = self._job(request)
        told = {"object": "fine_tuning.job.event", "level": "info", "type": "message", "created_at": int(job.created)}
        texts = [f"The job is {job.status(self._now)}", f"Created fine-tuning job: {job.id}"]
        events = [{**told, "id": f"{job.id}-{number}", "message": text} for number, text in enumerate(texts)]
        return _page(events, request)

    async def _checkpoints(self, request: web.Request) -> web.Response:
        self._authorize(request)
        job = self._job(request)
        found = []
        if job.status(self._now) == "succeeded":
            name = f"{job.model}:ckpt-step-{len(job.rows)}"
            told = {"fine_tuned_model_checkpoint": name, "step_number": len(job.rows), "metrics": {}}
            found = [{"object": "fine_tuning.job.checkpoint", "id": f"{job.id}-ckpt", **told}]
        return _page(found, request)

    def _job(self, request: web.Request) -> Job:
        id_ = request.match_info["id"]
        if id_ not in self._jobs or self._rules.lost:
            raise ApiError(404, f"Could not find fine tune: {id_}", code="fine_tune_not_found", param="id")
        return self._jobs[id_]

    # --- adapters of trainers, as vLLM loads them -------------------------------------------------------------------

    async def _load(self, request: web.Request) -> web.Response:
        self._authorize(request)
        given = json.loads(await request.read())
        name, folder = str(given["lora_name"]), Path(str(given["lora_path"]))
        if name in self._models:
            raise ApiError(400, f"The lora adapter '{name}' has already been loaded.")
        try:
            made = json.loads((folder / SIMULATED).read_text(encoding="utf-8"))
            base = self._models[made["base"]]
        except (OSError, ValueError, KeyError) as error:
            raise ApiError(404, f"Loading lora {name} failed: No adapter found for {folder} ({error}).") from None
        lessons = (*base.lessons, *_lessons(made["rows"]))
        self._models[name] = dataclasses.replace(base, name=name, lessons=lessons)
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    # --- faults and time --------------------------------------------------------------------------------------------

    async def _written(self, request: web.Request, write: Callable[[], dict[str, Any]]) -> web.Response:
        """Does a write, and what the rules say happens to it."""
        fate = self._rules.writes.pop(0) if self._rules.writes else "ok"
        if fate == "limit":
            raise ApiError(429, "Rate limit reached.", "requests", headers={"Retry-After": "1"})
        answer = write() if fate in ("ok", "error after", "drop after", "hang after") else {}
        if fate == "hang after":
            await asyncio.Event().wait()
        if fate.startswith("drop") and request.transport is not None:
            request.transport.close()
        if fate != "ok":
            raise ApiError(500, "The server had an error while processing your request.", "server_error")
        return web.json_response(answer)

    async def _put_rules(self, request: web.Request) -> web.Response:
        self._rules = Rules.of(json.loads(await request.read()))
        return await self._state(request)

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                **dataclasses.asdict(self._rules),
                "files": [file.shown() for file in self._files.values()],
                "jobs": [job.shown(self._now) for job in self._jobs.values()],
            }
        )

    async def _advance(self, request: web.Request) -> web.Response:
        self._ahead += float(json.loads(await request.read())["seconds"])
        return web.json_response({"ahead": self._ahead})


def _page(found: list[dict[str, Any]], request: web.Request) -> web.Response:
    ids = [each["id"] for each in found]
    after, limit = request.query.get("after"), int(request.query.get("limit", PAGE))
    start = ids.index(after) + 1 if after in ids else 0
    shown = found[start : start + limit]
    body = {"object": "list", "data": shown, "has_more": start + limit < len(found)}
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return web.json_response({**body, **ends})


def _rows(data: bytes) -> tuple[list[list[Mapping[str, Any]]], dict[str, Any] | None]:
    """Returns the messages of each training row, and the error of a file that cannot be used."""
    rows: list[list[Mapping[str, Any]]] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            messages = json.loads(line)["messages"]
            parse(messages)
        except (ValueError, KeyError, TypeError, PromptError):
            return [], _invalid("invalid_training_file", f"Line {number} has no messages.")
        rows.append(messages)
    if len(rows) < LEAST_ROWS:
        message = f"Training file has {len(rows)} example(s), but must have at least {LEAST_ROWS} examples"
        return rows, _invalid("invalid_n_examples", message)
    return rows, None


def _invalid(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "param": "training_file"}


def _lessons(rows: Iterable[list[Mapping[str, Any]]]) -> list[Demo]:
    return [demo for row in rows for demo in parse(row).demos]
