"""Reads the rows of data files. The end of a file's name says its format."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from swarm_wire.names import WorkerReason
from swarm_wire.words import sentence
from swarm_worker.errors import BadInput
from swarm_worker.user.sources import left_out

Row = Mapping[str, Any]

_REASON = WorkerReason.DATA_INVALID


def read(path: Path, where: str) -> Iterator[Row]:
    """Yields the rows of a file, in the file's order.

    Args:
        where: the field of the spec that names the file, for messages.

    Raises BadInput, with the position in the file, if a row cannot be read.
    """
    if path.suffix not in READERS:
        raise BadInput(
            _REASON,
            f"{where}: {path.name} must end in {', '.join(READERS)}. Read any other file by a function: "
            '{entrypoint: "module:function"}, see docs/sources.md.',
        )
    try:
        with path.open("rb") as file:
            yield from READERS[path.suffix](file, f"{where}: {path.name}")
    except FileNotFoundError:
        there = ", ".join(sorted(p.name for p in path.parent.glob("*") if not p.name.startswith("."))[:20])
        raise BadInput(
            _REASON,
            " ".join([f"{where}: there is no {path.name} in {path.parent}. There: {there or 'nothing'}.", *left_out()]),
        ) from None
    except OSError as error:
        raise BadInput(_REASON, f"{where}: {path.name} cannot be read: {sentence(str(error))}") from None


def look_for_booleans(rows: Sequence[Row], where: str, note: Callable[[str], None]) -> None:
    """Notes each field of a CSV file whose values look like booleans, because Python takes any text for true."""
    for field in rows[0] if rows else ():
        texts = sorted({row[field] for row in rows})
        if {text.strip().lower() for text in texts} <= {"true", "false"}:
            note(
                f"{where}: the field {field!r} holds the texts {', '.join(map(repr, texts))}: all of a CSV file is "
                f"text, and Python takes any text for true. Compare it with {texts[-1]!r}, or write the file as JSONL."
            )


def _text(file: BinaryIO, where: str) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(_REASON, f"{where} cannot be read as UTF-8 text: {sentence(str(error))}") from None


def _json_lines(file: BinaryIO, where: str) -> list[Row]:
    return [
        _json_line(line, f"{where}, line {number}")
        # splitlines would split at characters that JSON may contain. json.loads ignores the \r of \r\n.
        for number, line in enumerate(_text(file, where).split("\n"), 1)
        if line.strip()
    ]


def _json_line(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInput(_REASON, f"{where} is not JSON: {sentence(str(error))} Write one JSON object a line.") from None
    if not isinstance(row, dict):
        raise BadInput(_REASON, f'{where} is a {type(row).__name__}. Write one JSON object a line: {{"field": value}}.')
    return row


def _json_list(file: BinaryIO, where: str) -> list[Row]:
    wanted = 'Write one list of JSON objects: [{"field": value}, ...].'
    try:
        rows = json.loads(_text(file, where))
    except ValueError as error:
        raise BadInput(
            _REASON,
            f"{where} is not JSON: {sentence(str(error))} {wanted} A file with one object a line must end in .jsonl.",
        ) from None
    if not isinstance(rows, list):
        raise BadInput(_REASON, f"{where} is a {type(rows).__name__}. {wanted}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadInput(_REASON, f"{where}, example {number} is a {type(row).__name__}. {wanted}")
    return rows


def _csv(file: BinaryIO, where: str) -> list[Row]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(io.StringIO(_text(file, where), newline=""))
    rows: list[Row] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadInput(
                    _REASON,
                    f"{where}, line {reader.line_num} has not as many fields as the first line: "
                    f"{', '.join(reader.fieldnames or ())}. Quote fields that hold a comma.",
                )
            rows.append(row)
    except csv.Error as error:
        raise BadInput(_REASON, f"{where}, line {reader.line_num} is not CSV: {sentence(str(error))}") from None
    return rows


def _parquet(file: BinaryIO, where: str) -> Iterator[Row]:
    """Yields rows batch by batch, so that data with a limit does not need the memory of the whole file."""
    try:
        # Imported only here, because the worker image lacks it, and most data needs none of it.
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            _REASON,
            f"{where} is Parquet, and pyarrow is not installed: install it into the worker image (on a laptop: "
            "pip install pyarrow), or write JSONL.",
        ) from None
    try:
        parquet = pyarrow.parquet.ParquetFile(file)
        wanted = pyarrow.schema([field.with_type(_of_python(field.type)) for field in parquet.schema_arrow])
        # The plan forks later, and a fork lacks the threads of its parent. So no thread reads.
        for batch in parquet.iter_batches(use_threads=False):
            yield from batch.cast(wanted).to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # Python's dates end with the year 9999
        raise BadInput(
            _REASON,
            f"{where} cannot be read as Parquet: {sentence(str(error))} Write it anew, with times in microseconds or "
            "coarser units.",
        ) from None


def _of_python(type_: Any) -> Any:
    """Returns a type of Arrow with microseconds in place of nanoseconds, which Python's own types of time lack.

    Without this, values of such a type would be of pandas' classes where pandas is installed.
    """
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(type_) and type_.unit == "ns":
        return pyarrow.timestamp("us", type_.tz)
    if types.is_duration(type_) and type_.unit == "ns":
        return pyarrow.duration("us")
    if types.is_time64(type_) and type_.unit == "ns":
        return pyarrow.time64("us")
    if types.is_list(type_):
        return pyarrow.list_(type_.value_field.with_type(_of_python(type_.value_type)))
    if types.is_struct(type_):
        return pyarrow.struct([field.with_type(_of_python(field.type)) for field in type_.fields])
    return type_


READERS: Final[Mapping[str, Callable[[BinaryIO, str], Iterable[Row]]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""Functions that read a format, by the end of a file's name. Each takes the file, and its name for messages."""
