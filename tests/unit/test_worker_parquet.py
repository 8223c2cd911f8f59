"""A data file may be Parquet where pyarrow is installed. `make extras` runs all of these tests."""

import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.worker import spec_of
from swarm_worker.content.digest import Walk
from swarm_worker.errors import BadInput
from swarm_worker.user.data import load_data

REASON = "the image of who reads Parquet has it: make extras"
ROW = {
    "question": "1 + 1?",
    "answer": 2,
    "sure": False,
    "score": 0.5,
    "steps": [1, None],
    "more": {"by": "me"},
    "at": datetime(2026, 11, 30, 8, 30),
    "on": date(2026, 11, 30),
    "took": timedelta(seconds=3),
    "price": Decimal("1.20"),
    "image": b"\x00\xff",
    "nothing": None,
}


def loaded(file: Path, **source: Any) -> list[Any]:
    data = {"inputs": ["question"], "train": {"path": str(file), **source}}
    return load_data(spec_of("prog", data=data), file.parent).train


def refused(file: Path, **source: Any) -> str:
    with pytest.raises(BadInput) as error:
        loaded(file, **source)
    assert error.value.reason == "DataInvalid"
    return str(error.value)


def written(folder: Path, rows: Sequence[dict[str, Any]], **types: Any) -> Path:
    """Returns a Parquet file with these rows. `types` are the types of fields for which pyarrow would find another."""
    pyarrow, parquet = (pytest.importorskip(name, reason=REASON) for name in ("pyarrow", "pyarrow.parquet"))
    table = pyarrow.Table.from_pylist(rows)
    schema = pyarrow.schema([field.with_type(types.get(field.name, field.type)) for field in table.schema])
    file = folder / "train.parquet"
    parquet.write_table(table.cast(schema), file)
    return file


def nanoseconds() -> Any:
    return pytest.importorskip("pyarrow", reason=REASON).timestamp("ns")


def test_each_row_of_a_parquet_file_is_an_example_whose_values_keep_their_types(tmp_path: Path) -> None:
    [example] = loaded(written(tmp_path, [ROW]))
    assert dict(example) == ROW
    assert {name: type(value) for name, value in example.items()} == {name: type(ROW[name]) for name in ROW}
    assert set(example.inputs().keys()) == {"question"}


def test_a_parquet_file_may_be_a_key_of_a_config_map(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    written(tmp_path / "data", [ROW])
    train = {"configMap": {"name": "data", "key": "train.parquet"}}
    data = load_data(spec_of("prog", data={"inputs": ["question"], "train": train}), tmp_path)
    assert [dict(example) for example in data.train] == [ROW]


def test_the_rows_of_a_parquet_file_always_have_the_same_digest_and_order(tmp_path: Path) -> None:
    file = written(tmp_path, [ROW | {"question": f"q{number}"} for number in range(1000)])
    one, two = loaded(file), loaded(file)
    assert [example.question for example in one] == [f"q{number}" for number in range(1000)]
    assert Walk().digest(one) == Walk().digest(two)


def test_times_that_pandas_has_written_in_nanoseconds_are_of_pythons_own_types(tmp_path: Path) -> None:
    at = datetime(2026, 11, 30, 8, 30)
    pyarrow = pytest.importorskip("pyarrow", reason=REASON)
    types = {"at": nanoseconds(), "took": pyarrow.duration("ns"), "days": pyarrow.list_(nanoseconds())}
    [example] = loaded(written(tmp_path, [{"question": "q", "at": at, "took": timedelta(1), "days": [at]}], **types))
    assert [type(value) for value in (example.at, example.took, example.days[0])] == [datetime, timedelta, datetime]
    assert (example.at, example.took, example.days) == (at, timedelta(1), [at])


def test_a_limit_of_examples_does_not_read_the_rest_of_a_parquet_file(tmp_path: Path) -> None:
    rows = [{"question": "q", "at": number} for number in (*[0] * 70_000, 1)]
    file = written(tmp_path, rows, at=nanoseconds())
    assert "would lose data: 1. Write it anew, with times in microseconds or coarser units." in refused(file)
    assert len(loaded(file, limit=2)) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "train.parquet cannot be read as Parquet: "),
        (b'{"question": "q"}\n', "train.parquet cannot be read as Parquet: Parquet magic bytes not found in footer."),
        (None, "there is no train.parquet in "),
    ],
)
def test_the_message_about_a_file_that_is_not_parquet_names_the_file(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    pytest.importorskip("pyarrow", reason=REASON)
    file = tmp_path / "train.parquet"
    if content is not None:
        file.write_bytes(content)
    assert refused(file).startswith(f"spec.data.train: {says}")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, [ROW])
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"x" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    assert refused(file).startswith("spec.data.train: train.parquet cannot be read")


def test_the_message_about_a_parquet_file_says_which_package_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = tmp_path / "train.parquet"
    file.write_bytes(b"PAR1")
    assert refused(file) == (
        "spec.data.train: train.parquet is Parquet, and pyarrow is not installed: install it into the worker image "
        "(on a laptop: pip install pyarrow), or write JSONL."
    )
