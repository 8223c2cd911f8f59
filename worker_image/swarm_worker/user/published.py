"""The program that was published when the run began: a student may start from it, and the gate may compare with it.

Operator or local driver have put it beside the run's request. So a later publication does not change it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dspy

from swarm_wire import names
from swarm_wire.messages import RunRequest
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.user.program import load_state
from swarm_worker.user.sources import run_folder

FIRST: Final = "this Compilation had published none when the run began"
WITHOUT: Final = {
    "spec.gate.against": "Write against: baseline",
    "spec.compare": "Remove compare, and write against: baseline if there is a gate,",
    "spec.drift": "Remove drift",
}


def published_program(spec: CompilationSpec, student: dspy.Module) -> dspy.Module | None:
    """Returns the published program if the report compares anything with it and there is one; otherwise None.

    Call it before the compile, which may change the student. Raises BadInput if the program cannot be loaded.
    """
    asks = spec.compares_published or spec.drift is not None
    if not asks or not _file().is_file():
        return None
    field = "spec.compare" if spec.compare else "spec.gate.against" if spec.compares_published else "spec.drift"
    program = student.deepcopy()
    load_state(
        program,
        _file(),
        field,
        f"The program's code no longer fits it. {WITHOUT[field]} for this run. The next run can compare its winner "
        "with that of this run.",
    )
    return program


def is_published(program: str) -> bool:
    """Whether this text of a program file is the published program, byte for byte."""
    return _file().is_file() and _file().read_text(encoding="utf-8") == program


def notes(request: RunRequest) -> Iterator[str]:
    """Yields what the report says about what the spec asks for and the run does not have: the published program, and
    results of the predecessor.
    """
    state, gate = request.spec.program.state, request.spec.gate
    if request.not_inherited is not None:
        yield f"The run reuses no answers of a predecessor: {request.not_inherited}."
    if not request.spec.needs_published or _file().is_file():
        return
    why = request.unpublished or FIRST
    if state is not None and state.published:
        yield f"spec.program.state asks for the published program, and {why}: the student starts as its code makes it."
    if request.spec.drift is not None:
        yield f"spec.drift asks for the published program, and {why}: nothing is asked anew."
    if request.spec.compare is not None:
        yield f"spec.compare asks for the published program, and {why}: the winner is compared with the baseline."
    elif gate is not None and gate.against == "published":
        yield f"spec.gate.against asks for the published program, and {why}: the winner is compared with the baseline."


def _file() -> Path:
    return run_folder() / names.PUBLISHED_FILE
