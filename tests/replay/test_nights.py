"""A trigger makes a run each night, with real plans and workers and a simulated clock."""

from pathlib import Path

import pytest

from support.compiles import KNOWLEDGE
from support.nights import CHANGED, PROGRAM, SAMPLE, Nights, provider
from support.sampling import sample
from testbed.shell import free_port


@pytest.mark.parametrize("capability", sample([0.9], 2))
def test_seven_nights_cost_calls_only_after_a_change_and_a_silent_change_of_the_model_is_told(
    tmp_path: Path, capability: float
) -> None:
    port = free_port()
    nights = Nights(f"http://127.0.0.1:{port}/v1", tmp_path)
    with provider(port, capability, knowledge=KNOWLEDGE) as running:
        first = nights.night(running)
        assert first > 0
        assert nights.night(running) == 0, "nothing has changed"
        nights.change("data", "validation.jsonl", "invoice", "bill")
        data = nights.night(running)
        assert 0 < data < first / 4, "one example has changed"
        nights.change("code", "code.py", PROGRAM, CHANGED)
        code = nights.night(running)
        assert code > first / 2, "each prompt has changed"
        assert nights.night(running) == 0
        nights.edit(drift={"sample": SAMPLE})
        nights.trigger["spec"]["recompileOnDrift"] = True
        assert nights.night(running) == SAMPLE, "the published program was asked a sample"
        assert nights.drifts == []
    with provider(port, 0.0) as running:
        last = nights.night(running)
    [told] = nights.drifts
    assert "scores worse than before on the same 24 examples" in told
    assert last > SAMPLE + first / 2, "a second run of this night has asked the model anew"
    causes = [run["cause"].split()[0] for run in nights.trigger["status"]["runs"]]
    assert causes == ["drift", *["schedule"] * 7]
    print(f"LM calls by night: {first}, 0, {data}, {code}, 0, {SAMPLE}, {last}")
