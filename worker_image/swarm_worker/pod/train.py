"""Has the user's trainer train a model, in three steps: stage, train, deliver.

In a pod, each step is a container, and the second one has the trainer's image. On a laptop, one process does all three.
The trainer reads data.jsonl and params.json from ENV_FINETUNE_DIR, and writes to ENV_OUT_DIR. docs/trainers.md has the
whole contract.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from swarm_wire import names
from swarm_wire.messages import Outcome, Result, RunRequest
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.finetune import Finetune
from swarm_wire.spec.trainer import Trainer
from swarm_wire.spending import MICRO, Spending, Usage
from swarm_wire.tuned import TunedModel
from swarm_wire.tuned import Weights as Place
from swarm_worker.content.codec import Codec
from swarm_worker.errors import BadInput, Stopping, SwarmError
from swarm_worker.finetuning import weights
from swarm_worker.finetuning.order import Order
from swarm_worker.finetuning.tuning import MILLION, without_secrets
from swarm_worker.finetuning.weights import Manifest, Weights
from swarm_worker.journal import body_store
from swarm_worker.journal.body_store import Sender
from swarm_worker.pod.process import Process, folder, read_request
from swarm_worker.pod.work import Bench, read_assignment
from swarm_worker.provider.budget import Budget
from swarm_worker.provider.budget import install as install_budget

DELIVERED: Final = "delivered"
"""A trainer that finds this file has nothing to do: its result is kept already."""
POLL_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 5.0
"""How long a trainer may go on after SIGTERM, on a laptop."""


def stage(process: Process) -> None:
    """Writes what the trainer reads."""
    with process.ending():
        Training.begin(process).stage(folder(names.ENV_FINETUNE_DIR, names.FINETUNE_DIR))


def deliver(process: Process) -> None:
    """Keeps what the trainer has written, and prints the result."""
    with process.ending():
        training = Training.begin(process)
        training.deliver(folder(names.ENV_OUT_DIR, names.OUT_DIR))


def train(process: Process) -> None:
    """Does all steps, on a laptop."""
    with process.ending(), tempfile.TemporaryDirectory() as scratch:
        training = Training.begin(process)
        given, out = Path(scratch) / "finetune", Path(scratch) / "out"
        given.mkdir()
        out.mkdir()
        training.stage(given)
        if not (given / DELIVERED).exists():
            training.run(given, out)
        training.deliver(out)


@dataclass(frozen=True)
class Training:
    """One training: the cell of this process's slice."""

    process: Process
    request: RunRequest
    trainer: Trainer
    order: Order
    storage: Weights
    budget: Budget

    @classmethod
    def begin(cls, process: Process) -> "Training":
        request = read_request()
        storage, depot = weights.take(os.environ), body_store.take(os.environ)
        process.mask(lambda text: storage.redact(text if depot is None else depot.redact(text)))
        budget = install_budget(os.environ, request.spec, process.print)
        index = int(os.environ.get(names.ENV_INDEX, "0"))
        process.equip(
            budget, None if depot is None else Sender(depot, f"{request.run_id}/train-{index}", process.print)
        )
        bench = Bench(folder(names.ENV_TASKS_DIR, names.TASKS_DIR), Codec({}), depot)
        [ref] = read_assignment(folder(names.ENV_WORK_DIR, names.WORK_DIR)).slices[index]
        trainer = request.spec.trainer
        assert trainer is not None, "the task is for a trainer"
        return cls(process, request, trainer, Order.from_bytes(bench.payload(ref.task)), storage, budget)

    @property
    def name(self) -> str:
        """Returns the name under which a server answers for the model."""
        return f"ft-{self.order.key[:12]}"

    @property
    def _finetune(self) -> Finetune:
        assert self.request.spec.finetune is not None
        return self.request.spec.finetune

    def stage(self, given: Path) -> None:
        """Writes rows and parameters. Raises AllowanceSpent if the run may not pay for the training."""
        if self.storage.find(self.name) is not None:
            (given / DELIVERED).touch()
        else:
            self.budget.check(self._cost(self.order.tokens))
            self.storage.check(self.name)
        (given / "data.jsonl").write_bytes(self.order.rows + b"\n")
        parameters = {"key": self.order.key, "name": self.name, "seed": self._finetune.seed, "base": self._base()}
        text = json.dumps({**parameters, "parameters": self._parameters()}, indent=1, ensure_ascii=False)
        (given / "params.json").write_text(text, encoding="utf-8")

    def run(self, given: Path, out: Path) -> None:
        """Runs the trainer as a program of this machine. Raises SwarmError if it fails."""
        base = Path(os.environ.get(names.ENV_BASE_DIR) or ".")
        environment = {**_without_ours(os.environ), **_variables(self.trainer)}
        environment |= {names.ENV_FINETUNE_DIR: str(given), names.ENV_OUT_DIR: str(out)}
        try:
            running = subprocess.Popen(
                self.trainer.command, cwd=base, env=environment, stdout=2, start_new_session=True
            )
        except OSError as error:
            raise BadInput(
                WorkerReason.INVALID_SPEC,
                f"spec.finetune.trainer.command: {self.trainer.command[0]} cannot be started in {base}: "
                f"{error.strerror}.",
            ) from None
        deadline = time.monotonic() + self._finetune.deadline_seconds
        while (code := _ended(running, POLL_SECONDS)) is None:
            is_late = time.monotonic() > deadline
            if is_late or self.process.stopping or not self.process.is_heard:
                _kill(running)
                if is_late:
                    raise BadInput(
                        WorkerReason.FINE_TUNE_TIMED_OUT,
                        "the training takes longer than finetune.deadlineSeconds, and was ended. Write a later "
                        "deadline.",
                    )
                raise Stopping
        if code != 0:
            raise SwarmError(f"the trainer has ended with exit code {code}")

    def deliver(self, out: Path) -> None:
        """Keeps the result, unless an earlier attempt has, and prints it."""
        manifest, usage = self.storage.find(self.name), Usage()
        if manifest is None:
            manifest, left = weights.made(out, self.order.key, self.name, self._pinned())
            for path in left:
                self.process.say(f"{path} is left out: only {', '.join(sorted(weights.SUFFIXES))} are kept")
            manifest = self.storage.put(manifest, out)
            cost = self._cost(self._tokens(manifest))
            self.budget.count(cost)
            usage = Usage(prompt_tokens=cost.tokens, micro_usd=cost.micro_usd)
        tuned = self._told(manifest)
        result = Result(key=self.order.key, outcome=Outcome.OK, usage=usage)
        self.process.put(
            Record(RecordKind.RESULT, result.to_header(), Codec({}).dumps((Outcome.OK, tuned.to_header())))
        )

    def _told(self, manifest: Manifest) -> TunedModel:
        output, tokens = self.trainer.output, self._tokens(manifest)
        claim = output.persistent_volume_claim
        parent = f"pvc://{claim.claim_name}" if claim is not None else without_secrets(output.url or "").rstrip("/")
        price = self._finetune.training_price
        return TunedModel(
            model=f"{self.order.base.partition('/')[0]}/{manifest.name}",
            base=self.trainer.base.name,
            endpoint=without_secrets(self.request.spec.tuned_address),
            rows=self.order.count,
            tokens=tokens,
            usd=None if price is None else tokens * price / MILLION,
            weights=Place(
                revision=self.trainer.base.revision or "",
                place=f"{parent}/{manifest.name}",
                kind=manifest.kind,
                sha256=manifest.sha256,
                bytes=manifest.size,
                metrics=manifest.metrics,
            ),
        )

    def _tokens(self, manifest: Manifest) -> int:
        """Returns the tokens that the trainer has trained: its own number, or else an upper estimate."""
        told = int(manifest.metrics.get("tokens", 0))
        return told if told > 0 else self.order.tokens

    def _cost(self, tokens: int) -> Spending:
        usd = (self._finetune.training_price or 0.0) * tokens / MILLION
        return Spending(calls=0, tokens=tokens, micro_usd=round(usd * MICRO))

    def _parameters(self) -> dict[str, Any]:
        given: dict[str, Any] = {"epochs": self._finetune.epochs, "batchSize": self._finetune.batch_size}
        usual = {name: value for name, value in given.items() if value is not None}
        return {**usual, **self.trainer.parameters}

    def _pinned(self) -> dict[str, str]:
        base = self.trainer.base
        return {"name": base.name, **({"revision": base.revision} if base.revision else {})}

    def _base(self) -> dict[str, str | None]:
        """Returns where the trainer finds the weights with which it begins."""
        base, path = self.trainer.base, self.trainer.base.path
        if base.volume is not None:
            path = str(names.VOLUMES_DIR / base.volume.claim_name / base.volume.path)
        elif path is not None and (local := os.environ.get(names.ENV_BASE_DIR)):
            path = str(Path(local, path).resolve())
        return {"name": base.name, "revision": base.revision, "path": path}


def _ended(running: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Waits for the end of a program, and returns its exit code; None if it still runs."""
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _kill(running: "subprocess.Popen[bytes]") -> None:
    """Ends a program and all that it has started, by force if it does not end by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        _ended(running, GRACE_SECONDS)


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment without the variables of this process, such as API keys."""
    return {name: value for name, value in environment.items() if not name.startswith("SWARM_")}


def _variables(trainer: Trainer) -> dict[str, str]:
    """Returns the variables of finetune.trainer.env that have a value. A laptop has no Secrets for a trainer."""
    return {variable.name: variable.value for variable in trainer.env if variable.value is not None}


COMMANDS: Final[Mapping[str, Callable[[Process], None]]] = {"stage": stage, "deliver": deliver, "train": train}
