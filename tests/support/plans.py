"""Runs plans in this process, and keeps their records and their ends."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

import pytest

from support.effects import Step
from support.models import CODEC, take_over
from swarm_wire.messages import CallMade, Result, Task
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Usage
from swarm_worker.errors import SwarmError
from swarm_worker.journal.store import Store
from swarm_worker.replay import calls, hooks
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.host import Host, Options


class Left(BaseException):
    """Stands for the end of a plan's process."""

    def __init__(self, error: SwarmError | None) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Desk:
    """An engine with its journal and the records that it emits.

    Attributes:
        options: values for fields of Host and Options, and for other parameters of the engine.
        asked_at_end: holds the number of requested tasks each time that the plan ends. A real process ends only once.
    """

    journal: list[Record] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    emitted: list[Record] = field(default_factory=list)
    asked_at_end: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = dict(self.options)
        host = Host(self.emitted.append, self.leave, **_taken(given, Host))
        self.store, options = Store.of(self.journal), Options(**_taken(given, Options))
        self.engine = Engine(self.store, CODEC, host, options, **given)

    def leave(self, error: SwarmError | None = None) -> NoReturn:
        self.asked_at_end.append(len(self.engine.asked.tasks))
        raise Left(error)

    def left(self, *steps: Step) -> SwarmError | None:
        """Returns the error with which the plan ends when it needs these effects."""
        with pytest.raises(Left) as left:
            list(map(self.engine.need, steps))
        return left.value.error

    def asked(self) -> list[str]:
        return [task.digest for task in self.engine.asked.tasks]


def _taken(given: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Removes the options that are fields of a dataclass, and returns them."""
    return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}


@dataclass
class Planned:
    """The end of a script that ran as a plan.

    Attributes:
        value: what the script returned, or None if the plan ended before.
        left: whether the plan ended before the script returned.
        error: the error with which the plan ended, if there was one.
    """

    engine: Engine
    records: list[Record]
    value: Any = None
    left: bool = False
    error: SwarmError | None = None

    def of(self, kind: RecordKind) -> list[Record]:
        return [record for record in self.records if record.kind is kind]

    @property
    def results(self) -> list[Result]:
        return [Result.model_validate(record.header) for record in self.of(RecordKind.RESULT)]

    @property
    def calls(self) -> list[CallMade]:
        return [CallMade.model_validate(record.header) for record in self.of(RecordKind.CALL)]

    @property
    def tasks(self) -> list[Task]:
        return [Task.model_validate(record.header) for record in self.of(RecordKind.TASK)]

    @property
    def usage(self) -> Usage:
        return Store.of(self.records).usage()


def plan(script: Callable[[], Any], journal: list[Record] | None = None, **options: Any) -> Planned:
    """Runs a script as a plan runs a compile: with our hooks, until it returns or needs a missing effect."""
    pid = os.getpid()
    desk = Desk(journal or [], options)
    planned = Planned(desk.engine, desk.emitted)
    with pytest.MonkeyPatch.context() as patch:
        take_over(patch)
        calls.install(desk.engine.calls)
        hooks.install(desk.engine)
        try:
            planned.value = script()
        except Left as left:
            planned.left, planned.error = True, left.error
        finally:
            if os.getpid() != pid:  # this process is a scout
                os._exit(0)
    return planned
