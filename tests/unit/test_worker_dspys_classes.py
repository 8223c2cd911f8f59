"""A program that holds objects of DSPy's classes has the same digest and the same result in plan and worker."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import dspys_classes
from support.worker import ROOT, run_python

PROGRAMS = Path(dspys_classes.__file__).parent
PLAN = """
import base64, json
import dspys_classes as classes
from swarm_worker.content import places
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
found = {}
for name in classes.CLASSES:
    program = classes.program(name)
    places.install(places.Places.of(program=program), "dspys_classes:program")
    copy = program.deepcopy()
    data = base64.b64encode(Codec({}).dumps(copy)).decode()
    found[name] = Walk().digest(program), Walk().digest(copy), classes.probed(name, copy.held), data
print(json.dumps(found), flush=True)
import os; os._exit(0)
"""
WORKER = """
import base64, json, sys
import dspys_classes as classes
from swarm_worker.content import places
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
found = {}
for name, data in json.load(open(DATA)).items():
    places.install(places.Places.lazy(lambda: {"program": classes.program(name)}), "dspys_classes:program")
    copy = Codec({}).loads(base64.b64decode(data))
    found[name] = Walk().digest(classes.program(name)), Walk().digest(copy), classes.probed(name, copy.held)
print(json.dumps(found), flush=True)
import os; os._exit(0)
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns digest and result of each program in a plan, and the same in a worker with another hash seed."""
    planned = run_python(PLAN, PROGRAMS, PYTHONHASHSEED="1")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout.splitlines()[-1])
    data = tmp_path_factory.mktemp("classes") / "payloads.json"
    data.write_text(json.dumps({name: found.pop() for name, found in plan.items()}))
    worked = run_python(f"DATA = {str(data)!r}\n{WORKER}", PROGRAMS, PYTHONHASHSEED="2")
    assert worked.returncode == 0, worked.stderr
    return plan, json.loads(worked.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", dspys_classes.CLASSES)
def test_a_worker_computes_the_same_digests_and_results_as_the_plan(sides: Any, name: str) -> None:
    plan, worker = sides
    assert worker[name] == plan[name]


def test_different_programs_have_different_digests(sides: Any) -> None:
    plan, _ = sides
    assert len({found[0] for found in plan.values()}) == len(plan)


def test_the_table_in_the_docs_has_a_row_for_each_class_of_dspy() -> None:
    page = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
    table = page.partition("## DSPy's classes\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[1:]
    named = {name.strip() for row in rows for name in row.replace("`", "").split(",")}
    assert named == set(dspys_classes.CLASSES)
