"""Only a process that needs LiteLLM imports it, in only one thread."""

from pathlib import Path

import dspy
import pytest

from support.compiles import PROGRAMS
from support.worker import run_python
from swarm_worker.client.installed import client

FAULTS = PROGRAMS / "litellm_faults"

CROWD = """
import pickle, sys, threading, time
import dspy
from swarm_worker.client import lazy, prices

prices.keep_offline()
{guard}
lm = dspy.LM("litellm_proxy/m", api_base="http://127.0.0.1:9/v1", api_key="k", num_retries=0, cache=False)
said = []

def ask():
    while "litellm" not in sys.modules:
        time.sleep(0.001)
    try:
        lm("hello")
    except Exception as error:
        said.append(f"{{type(error).__name__}}: {{error}}")

# An answer of LiteLLM's, from the journal or from another process.
read = threading.Thread(target=pickle.loads, args=(b"clitellm.types.utils\\nModelResponse\\n.",))
threads = [read, *(threading.Thread(target=ask) for _ in range(7))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("\\n".join(said))
"""


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "as in stock"])
def test_a_call_waits_for_an_import_of_litellm_in_progress(guarded: bool) -> None:
    guard = "lazy.guard()" if guarded else ""
    said = run_python(CROWD.format(guard=guard), FAULTS, LITELLM="slow").stdout.splitlines()
    assert len(said) >= 7
    assert any("partially initialized" in line for line in said) != guarded


@pytest.mark.parametrize(
    ("lm", "needs"),
    [
        ({"model": "openai/m"}, False),
        ({"model": "openai/m", "timeout": 3}, False),
        ({"model": "anthropic/m"}, False),
        ({"model": "openai/m", "engine": "litellm"}, True),
        ({"model": "openai/m", "model_type": "text"}, True),
        ({"model": "openai/m", "headers": {"a": "b"}}, True),
        ({"model": "litellm_proxy/m"}, True),
        ({"model": "no such provider/m"}, True),
        ({"model": "no such provider/m", "engine": "lm15"}, False),
    ],
    ids=str,
)
def test_litellm_serves_the_models_that_dspys_own_client_does_not_serve(lm: dict[str, object], needs: bool) -> None:
    assert client().needs_litellm(dspy.LM(**lm)) is needs


class Own(dspy.LM):
    def forward(self, prompt: object = None, messages: object = None, **given: object) -> object:
        return None


def test_an_lm_class_of_the_user_needs_no_litellm() -> None:
    assert not client().needs_litellm(Own("no such provider/m"))


AHEAD = """
import sys
import dspy
from swarm_worker.client import lazy
from swarm_worker.errors import SwarmError

try:
    lazy.import_for([dspy.LM("{model}")])
except SwarmError as error:
    print(error.reason, error)
else:
    print("litellm" in sys.modules)
"""


@pytest.mark.parametrize(
    ("model", "fault", "said"),
    [
        ("openai/m", {}, "False"),
        ("openai/m", {"LITELLM": "broken"}, "False"),
        ("litellm_proxy/m", {}, "True"),
        (
            "litellm_proxy/m",
            {"LITELLM": "broken"},
            "InfrastructureFailed neither the program nor a model's answer is at fault: ImportError: a library of "
            "LiteLLM's does not fit",
        ),
    ],
    ids=str,
)
def test_litellm_is_imported_in_advance_if_a_model_needs_it(
    tmp_path: Path, model: str, fault: dict[str, str], said: str
) -> None:
    ended = run_python(AHEAD.format(model=model), FAULTS, **fault)
    assert ended.stdout.startswith(said), ended.stderr
