"""Makes the artifact: the files of the compiled program and of its report."""

import json
import tempfile
from pathlib import Path
from typing import Any

from swarm_engine.markdown import markdown
from swarm_wire import names
from swarm_wire.names import WorkerReason
from swarm_wire.report import Report
from swarm_wire.words import sentence
from swarm_worker.content.codec import Codec, SecretInPayload
from swarm_worker.content.masking import redacted
from swarm_worker.errors import BadInput, CompileFailed

MOST_BYTES = 900_000
"""Largest size of program and report together with all details: they must fit into one ConfigMap."""
LARGE: dict[str, Any] = {"by_example": [], "prompts": []}


def written(program: str, report: Report, codec: Codec) -> bytes:
    """Returns the files of a program and its report. Raises BadInput if the program contains a secret."""
    try:
        codec.guard(program.encode())
    except SecretInPayload as error:
        raise BadInput(WorkerReason.RESULT_NOT_PORTABLE, f"the winner cannot be published: {error}") from None
    told = Report.model_validate(redacted(report.to_header(), codec.redact))
    for smaller in (told, told.without("byExample", by_example=[]), told.without("byExample and prompts", **LARGE)):
        files = {
            names.PROGRAM_FILE: program,
            names.REPORT_FILE: smaller.model_dump_json(by_alias=True, indent=2),
            names.MARKDOWN_FILE: markdown(smaller),
        }
        if sum(len(text.encode()) for text in files.values()) <= MOST_BYTES:
            break
    return json.dumps(files).encode()


def saved(winner: Any) -> str:
    """Returns the text of the program file, as `dspy.Module.save` writes it. Raises CompileFailed if it cannot."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / names.PROGRAM_FILE
        try:
            winner.save(str(path))
        except Exception as error:
            raise CompileFailed(
                f"the winner cannot be saved as JSON: {type(error).__name__}: "
                f"{sentence(str(error))} Use types in signatures and "
                "examples that JSON can carry."
            ) from error
        return path.read_text(encoding="utf-8")
