"""A fine-tuning job at a provider, by the protocol of OpenAI: https://platform.openai.com/docs/api-reference/fine-tuning.

The protocol has no idempotency keys, and the client's own retries may create a job three times. So nothing is created
blindly. Each look first finds out what is there: the job that the journal names, else a job whose metadata has the
order's key, in all pages and compared here. Before a file or a job is created, the journal gets a note. If a process
then dies, or the provider answers anything but yes or no, the next looks wait until the lists would show it.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import openai
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from swarm_wire.messages import Pending
from swarm_wire.names import WorkerReason
from swarm_wire.words import printable, sentence
from swarm_worker.errors import BadInput
from swarm_worker.finetuning import retirement
from swarm_worker.finetuning.order import Order, Tuned

PAID: Final = "paid"
"""The handle has this name once the run has paid for the job."""
KEY: Final = "swarm-key"
"""The job's metadata have the order's key under this name."""
FIRST, LONGEST = 5, 600
"""Seconds until the second look, and between two looks at most."""
UNSURE: Final = 60
"""Seconds between two looks for something that may have been created."""
SURE: Final = 2
"""After so many looks without it, it has not been created."""
MISSING: Final = 5
"""After so many looks at a job that is neither there nor in the list, it is gone."""
NEW_JOB: Final = "With another finetune.seed, another job begins, and no finished LM call is paid for again."
TIMEOUT: Final = 60.0
Made = TypeVar("Made", FileObject, FineTuningJob)
UNCLEAR: Final = frozenset({408, 409, 423, 425, 429})
"""A later request may have another answer than these. After all of them but 429, the provider may have done what it was
asked to do.
"""


class _Later(Exception):
    """The result is not there yet."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Look:
    """One look at a fine-tune.

    Args:
        before: what the look before has left in the journal; None for the first.
        now: seconds since 1970.
        lifetime: for how many days the base model must still exist; 0 for any number.
        note: writes a record to the journal at once.
        pay: called once for an order, before anything is created, with the tokens that the job will train. It raises an
            error if they may not be paid for.
    """

    def __init__(
        self,
        client: openai.OpenAI,
        order: Order,
        before: Pending | None,
        *,
        now: float,
        deadline: float,
        lifetime: int = 0,
        note: Callable[[Pending], None],
        pay: Callable[[int], None],
    ) -> None:
        self._client, self._order = client.with_options(max_retries=0, timeout=TIMEOUT), order
        self._note, self._pay, self._lifetime = note, pay, lifetime
        self._number = before.number if before else 0
        self._known = dict(before.handle) if before else {}
        self._now, self._until = now, float(self._known.get("until", now + deadline))
        self._known["until"] = str(self._until)

    def look(self) -> Tuned | Pending:
        """Returns the tuned model, or a record for the journal if it is not there yet.

        Raises BadInput if the provider refuses, or if the job fails, is gone, or takes too long.
        """
        try:
            return self._looked()
        except _Later as later:
            if self._now < self._until:
                return self._pending(str(later), later.seconds)
            raise BadInput(
                WorkerReason.FINE_TUNE_TIMED_OUT,
                f"the fine-tune of {self._order.base} takes longer than finetune.deadlineSeconds: {later}. If "
                "there is a job, it goes on at the provider, and a new run with a later deadline uses its result.",
            ) from None
        except openai.APIStatusError as error:
            self._refused(error)

    @property
    def is_paid(self) -> bool:
        """Whether this run has paid for the job. Otherwise, an earlier run has."""
        return PAID in self._known

    def _looked(self) -> Tuned:
        try:
            job = self._job()
            if job is None:
                job = self._created()
            self._known["job"] = job.id
            for name in ("unsure", "looks", "ended", "missing job"):
                self._known.pop(name, None)
            return self._ended(job)
        except openai.APIError as error:
            if error.code == "insufficient_quota":
                raise BadInput(
                    WorkerReason.ACCOUNT_EXHAUSTED,
                    f"the account of spec.models.{self._order.role} is exhausted: {sentence(_said(error))}",
                ) from None
            if not _is_unclear(error):
                raise
            raise _Later(f"the provider does not answer about fine-tuning ({_said(error)})", self._delay) from None

    def _ended(self, job: FineTuningJob) -> Tuned:
        """Returns what has come of a job. Raises _Later if it is under way, and BadInput if it has failed."""
        if job.status == "succeeded" and job.fine_tuned_model:
            self._check_exists(job.fine_tuned_model, job.id)
            provider = self._order.base.partition("/")[0]
            return Tuned(f"{provider}/{job.fine_tuned_model}", job.id, job.trained_tokens or self._order.tokens)
        if job.status in ("failed", "cancelled"):
            why = f": {job.error.code}: {job.error.message}" if job.error and job.error.message else ""
            ended = f"fine-tuning job {job.id} of {self._order.base} has {job.status}{sentence(why) if why else '.'}"
            raise BadInput(WorkerReason.FINE_TUNE_FAILED, f"{ended} {NEW_JOB}")
        # The list of words for the status may grow, so any other word means that the job is under way.
        raise _Later(f"fine-tuning job {job.id} is {printable(str(job.status))[:40]}", self._delay)

    def _check_exists(self, model: str, job: str) -> None:
        """Raises _Later if the provider shows the base but not the tuned model, and BadInput after some looks.

        No other answer says anything: some providers have no such endpoint, and some keys may not use it.
        """
        with contextlib.suppress(openai.APIError):
            try:
                self._client.models.retrieve(model)
            except openai.NotFoundError:
                self._client.models.retrieve(self._order.base.partition("/")[2])
                self._count_missing(
                    "model",
                    f"the model {model} of fine-tuning job {job}",
                    "Somebody may have deleted it. Write another finetune.seed to have the model trained again.",
                )

    def _count_missing(self, kind: str, what: str, advice: str) -> NoReturn:
        """Raises _Later for something that the provider does not show, and BadInput after some looks."""
        looks = int(self._known.get(f"missing {kind}", "0")) + 1
        self._known[f"missing {kind}"] = str(looks)
        if looks < MISSING:
            raise _Later(f"{what} is not there for the moment", UNSURE)
        raise BadInput(WorkerReason.FINE_TUNE_FAILED, f"{what} is gone: the provider does not show it. {advice}")

    def _job(self) -> FineTuningJob | None:
        """Returns the job; None if it is not known and not in the list."""
        if (id_ := self._known.get("job")) is not None:
            try:
                return self._client.fine_tuning.jobs.retrieve(id_)
            except openai.NotFoundError:
                if (found := self._found()) is not None:
                    return found
            self._count_missing("job", f"fine-tuning job {id_} of {self._order.base}", NEW_JOB)
        return self._found()

    def _found(self) -> FineTuningJob | None:
        """Returns the job of this order that the provider lists.

        A job that has failed belongs to an earlier run, unless this run may have created it since the look before.
        """
        listed = self._client.fine_tuning.jobs.list(limit=100, metadata={KEY: self._order.key})
        ours = [job for job in listed if self._is_ours(job)]
        failed = [job for job in ours if job.status in ("failed", "cancelled")]
        if (alive := next((job for job in ours if job not in failed), None)) is not None:
            return alive
        if self._known.get("unsure") == "job":
            earlier = self._known.get("ended", "").split()
            return next((job for job in failed if job.id not in earlier), None)
        self._known["ended"] = " ".join(job.id for job in failed)
        return None

    def _is_ours(self, job: FineTuningJob) -> bool:
        """Whether a job is of this order. Some providers keep no metadata, and only this order uses its file."""
        if (job.metadata or {}).get(KEY) == self._order.key:
            return True
        return "file" in self._known and getattr(job, "training_file", None) == self._known["file"]

    def _created(self) -> FineTuningJob:
        """Creates the job, with its file. Raises _Later if it is unclear whether that has succeeded."""
        if (file := self._known.get("file")) is None:
            file = self._known["file"] = self._once("file", self._listed_file, self._upload).id
        return self._once("job", self._found, lambda: self._create(file))

    def _once(self, what: str, find: Callable[[], Made | None], create: Callable[[], Made]) -> Made:
        """Finds something, or creates it if nobody can have created it before."""
        if (found := find()) is not None:
            return found
        if self._known.get("unsure") == what:
            looks = int(self._known.get("looks", "0")) + 1
            self._known["looks"] = str(looks)
            if looks < SURE:
                raise _Later(f"it is unclear whether the provider has created a {what} for the fine-tune", UNSURE)
        if self._now >= self._until:
            raise _Later("there is no job yet", UNSURE)
        if not self.is_paid:
            retirement.check(self._client, self._order, self._now, self._lifetime)
            self._pay(self._order.tokens)
            self._known[PAID] = "yes"
        # From here on, a process that dies may have created it.
        self._known |= {"unsure": what, "looks": "0"}
        self._note(self._pending(f"the provider creates a {what} for the fine-tune", UNSURE))
        try:
            return create()
        except openai.RateLimitError:
            del self._known["unsure"]
            raise
        except openai.APIError as error:
            if not _is_unclear(error):
                raise
            raise _Later(f"the provider may have created a {what} for the fine-tune ({_said(error)})", UNSURE) from None

    @property
    def _file_name(self) -> str:
        return f"{self._order.key}.jsonl"

    def _listed_file(self) -> FileObject | None:
        name, size = self._file_name, len(self._order.rows)
        files = self._client.files.list(purpose="fine-tune", limit=100)
        ours = (file for file in files if file.filename == name and file.bytes == size and file.status != "error")
        return next(ours, None)

    def _upload(self) -> FileObject:
        return self._client.files.create(file=(self._file_name, self._order.rows), purpose="fine-tune")

    def _create(self, file: str) -> FineTuningJob:
        given, names = dict(self._order.parameters), ("n_epochs", "batch_size", "learning_rate_multiplier")
        figures = {name: given[name] for name in names if name in given}
        method: Mapping[str, Any] = {"type": "supervised", "supervised": {"hyperparameters": figures}}
        return self._client.fine_tuning.jobs.create(
            model=self._order.base.partition("/")[2],
            training_file=file,
            method=method,  # type: ignore[arg-type]
            metadata={KEY: self._order.key},
            seed=given["seed"],
            **({"suffix": given["suffix"]} if given.get("suffix") else {}),
        )

    @property
    def _delay(self) -> int:
        return min(LONGEST, FIRST << min(self._number, 10))

    def _pending(self, message: str, seconds: int) -> Pending:
        self._number += 1
        return Pending(
            key=self._order.key,
            number=self._number,
            retry_after=seconds,
            handle=self._known,
            message=printable(message)[:500],
        )

    def _refused(self, error: openai.APIStatusError) -> NoReturn:
        field = f"spec.models.{self._order.role}"
        if error.status_code in (401, 403):
            raise BadInput(
                WorkerReason.CREDENTIALS_REJECTED,
                f"the provider refuses the API key of {field} for fine-tuning: {sentence(_said(error))}",
            ) from None
        raise BadInput(
            WorkerReason.NOT_FINETUNABLE,
            f"the provider does not fine-tune {self._order.base}: {sentence(_said(error))} Name another model in "
            f"{field}, or an endpoint with OpenAI's fine-tuning API.",
        ) from None


def _is_unclear(error: openai.APIError) -> bool:
    """Whether the provider has said neither yes nor no. A lost connection has no status."""
    return not isinstance(error, openai.APIStatusError) or error.status_code in UNCLEAR or error.status_code >= 500


def _said(error: openai.OpenAIError) -> str:
    status = f"{error.status_code} " if isinstance(error, openai.APIStatusError) else ""
    return re.sub(r"\s+", " ", printable(f"{status}{error}"))[:300]
