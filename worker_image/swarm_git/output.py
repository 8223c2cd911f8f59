"""The output of a pod: records, messages for people, and the commit record at its end."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm_git.masking import Masks
from swarm_wire import names
from swarm_wire.looks import Watched
from swarm_wire.names import ExitCode
from swarm_wire.pod_output import Writer, commit_text
from swarm_wire.records import Record

_FACTS = frozenset({"url", "branch", "commit", "sha256", "outcome"})


class Output:
    """Prints records on standard output, and all else on standard error. No secret leaves the process.

    Args:
        write: writes whole lines with records.
        environment: the pod's variables. The nonce is removed from it.

    Attributes:
        watched: what a watch pod has found, for the commit record.
    """

    def __init__(self, write: Callable[[bytes], object], environment: dict[str, str], masks: Masks) -> None:
        nonce = environment.pop(names.ENV_NONCE, "")
        os.environ.pop(names.ENV_NONCE, None)
        self._writer, self._masks = Writer(write, nonce or "no-nonce"), masks
        self._log = Path(environment.get(names.ENV_TERMINATION_LOG) or names.TERMINATION_LOG)
        self.watched: Watched | None = None

    @property
    def has_results(self) -> bool:
        """Whether a record was printed that another pod would have to print again."""
        return self._writer.count > 0

    def put(self, record: Record) -> None:
        """Prints a record, with the secrets in its header masked, because people read headers.

        What the spec or git has in plain text is not masked, although a short password may be a part of it.
        """
        self._writer.put(Record(record.kind, _masked(record.header, self._masks), record.body))

    def say(self, text: str) -> None:
        """Prints a text for people."""
        print(self._masks.redact(text), file=sys.stderr, flush=True)  # noqa: T201

    def commit(self, code: ExitCode, reason: str | None = None, message: str | None = None) -> None:
        """Writes the commit record. No record can follow it."""
        told = message and self._masks.redact(message)
        if told:
            self.say(f"{reason}: {told}")
        commit = self._writer.commit(code, reason, told).model_copy(update={"watched": self.watched})
        with suppress(OSError):
            self._log.write_text(commit_text(commit), encoding="ascii")


def _masked(thing: Any, masks: Masks) -> Any:
    match thing:
        case str():
            return masks.redact(thing)
        case list():
            return [_masked(part, masks) for part in thing]
        case Mapping():
            return {name: part if name in _FACTS else _masked(part, masks) for name, part in thing.items()}
        case _:
            return thing
