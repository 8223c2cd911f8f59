"""A program as DSPy's users write it compiles to stock's program, or a message names what is refused.

Stock DSPy and the local driver compile each day half of the programs in `tests/programs/users`, each with one of two
optimizers. `make fidelity` compiles all with both. The provider derives each answer from a hash of the request, so a
prompt that differs from stock's prompt changes the scores.

`USERS_TABLE=FILE make users` appends a line to the file for each compile, with the outcomes of stock DSPy and of the
local driver.
"""

import os
from pathlib import Path

import pytest

from support.hashed import HashedProvider
from support.users import run_ours, run_stock, verdict
from users.table import EQUAL, EQUAL_OR, Compile, compiles


@pytest.mark.parametrize("one", [*compiles()], ids=str)
def test_a_program_compiles_as_in_stock_or_a_message_names_what_is_refused(
    provider: HashedProvider, tmp_path: Path, one: Compile
) -> None:
    stock = run_stock(provider, tmp_path, one.program, one.optimizer)
    assert stock.inputs, stock
    ours = run_ours(
        provider,
        tmp_path,
        one.program,
        one.optimizer,
        stock.inputs,
        small_wave=one.small_wave,
        twin=one.twin,
        spec=one.row.spec,
    )
    found = verdict(stock, ours)
    _tell(one, f"{stock.error or stock.scores}; {len(stock.requests)} requests", found)

    if one.ends.startswith(EQUAL) and found == EQUAL:
        return
    assert one.ends != EQUAL, f"{found}\n{ours.output}"
    assert found.startswith("refused: "), found
    assert one.ends.removeprefix(EQUAL_OR) in found
    assert one.row.late or not ours.requests


def _tell(one: Compile, stock: str, ours: str) -> None:
    if file := os.environ.get("USERS_TABLE"):
        with Path(file).open("a", encoding="utf-8") as table:
            table.write(f"| {one.program} | {one.which} | {stock} | {' '.join(ours.split())[:400]} |\n")
