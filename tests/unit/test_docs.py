"""The documentation agrees with the code."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic.alias_generators import to_camel

import crd
import generate_tables
from support.worker import importable, spec_of
from swarm_operator.compilation.api import Reason
from swarm_wire.spec.models import Models
from swarm_wire.spec.optimizers import Optimizer
from swarm_worker.user.data import load_data

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_operator_is_documented(reason: Reason) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "conditions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_the_docs_lead_to_existing_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_every_record_of_a_design_decision_is_short_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    lines = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in folder.glob("*.md")}
    assert lines.keys() - {"README.md"} == listed
    assert [name for name, count in lines.items() if count > 25] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_docs_name_only_make_targets_that_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= targets


def test_github_runs_the_same_script_as_any_other_ci() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))["jobs"]
    steps = [step.get("run") for job in jobs.values() for step in job["steps"]]
    assert {"make check", ".ci/run"} <= set(steps)


def test_generated_tables_of_the_docs_are_up_to_date() -> None:
    assert generate_tables.main(["--check"]) == 0, "run: make docs"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (generate_tables.OPTIMIZERS, "`numTrials`"),
        (generate_tables.REFERENCE, "`numTrials`"),
        (generate_tables.SCHEMA, '"numTrials"'),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_a_stale_generated_table_is_found_and_rewritten(path: Path, word: str, tmp_path: Path) -> None:
    stale = tmp_path / path.name
    stale.write_text(path.read_text(encoding="utf-8").replace(word, "`trials`"))
    generated = {stale: generate_tables.GENERATED[path]}
    assert generate_tables.main(["--check"], generated) == 1
    assert generate_tables.main([], generated) == generate_tables.main(["--check"], generated) == 0


def test_kustomize_knows_every_field_that_names_a_config_map_or_secret() -> None:
    known = {
        field["path"].replace("/", ".")
        for found in yaml.safe_load(generate_tables.REFERENCES.read_text(encoding="utf-8"))["nameReference"]
        for field in found["fieldSpecs"]
    }
    named = {
        f"{path}.name".replace("[]", "")
        for path, name, given in _fields(VERSION["spec"], "spec")
        if name == "name" and re.match("Name of the (ConfigMap|Secret)", given.get("description", ""))
    }
    assert named - known == {"spec.artifact.configMap.name"}, "the operator makes this one"
    assert {f"spec.models.{role}.apiKey.secret.name" for role in Models.model_fields} <= known


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields the object's path, the name and the schema of every field, also of fields in nested objects."""
    for name, given in schema.get("properties", {}).items():
        yield path, name, given
        yield from _fields(given, f"{path}.{name}")
        yield from _fields(given.get("items", {}), f"{path}.{name}[]")


VERSION = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def test_every_field_has_a_row_in_the_reference() -> None:
    text = generate_tables.REFERENCE.read_text(encoding="utf-8")
    sections: dict[str, str] = {}
    for section in text.split("\n### ")[1:]:
        first, _, body = section.partition("\n")
        also = re.search(r"^The same fields are in (.*)\.$", body, re.MULTILINE)
        sections |= dict.fromkeys([first, *re.findall("`(.*?)`", also[1] if also else "")], body)
    # The reference documents the fields of an object once, even if the object occurs in several places.
    whole = {path for path, body in sections.items() if "| `" in body}
    for root in ("spec", "status"):
        for path, name, given in _fields(VERSION[root], root):
            told = [body for section, body in sections.items() if section == path]
            inside = any(path.startswith(f"{parent}.") for parent in whole)
            assert told or inside, path
            if told:
                assert re.search(rf"^\| `{name}` \| .* \| \S.* \|$", told[0], re.MULTILINE), f"{path}.{name}"
            assert given.get("description"), f"{path}.{name}"


SOURCES = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


@contextmanager
def documented(function: str, folder: Path) -> Iterator[Callable[[], list[Any]]]:
    """Writes the code block of docs/sources.md that defines a function as app/data.py, and loads its examples."""
    [block] = [text for text in re.findall(r"```python\n(.*?)```", SOURCES, re.DOTALL) if f"def {function}(" in text]
    (folder / "app").mkdir()
    (folder / "app" / "data.py").write_text(block, encoding="utf-8")
    spec = spec_of("x", data={"inputs": ["question"], "train": {"entrypoint": f"app.data:{function}"}})
    with importable(folder):
        yield lambda: load_data(spec, folder).train


def test_the_documented_function_that_reads_compressed_data_needs_only_packages_of_the_image(tmp_path: Path) -> None:
    with documented("compressed", tmp_path) as load:
        with gzip.open(tmp_path / "app" / "train.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write('{"question": "q", "label": true}\n')
        assert load()[0].label is True


def test_the_documented_function_that_reads_a_dataset_loads_the_rows_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local folder replaces the dataset of the Hugging Face hub, since tests do not use the internet."""
    reason = "the image of who loads datasets has it: make extras"
    pyarrow, datasets = pytest.importorskip("pyarrow", reason=reason), pytest.importorskip("datasets", reason=reason)
    hub = tmp_path / "hub" / "openai" / "gsm8k"
    (hub / "main").mkdir(parents=True)
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(250)]
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), hub / "main" / "train.parquet")
    files = {"config_name": "main", "data_files": [{"split": "train", "path": "main/train.parquet"}]}
    (hub / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': [files]})}---\n", encoding="utf-8")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path / "hub")
    with documented("dataset", tmp_path) as load:
        assert [dict(example) for example in load()] == rows[:200]


EDITORS = jsonschema.Draft7Validator(json.loads(generate_tables.SCHEMA.read_text(encoding="utf-8")))


def test_the_schema_for_editors_accepts_every_example_manifest() -> None:
    manifests = [*(ROOT / "examples").rglob("*.yaml")]
    documents = [document for path in manifests for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert any(document.get("kind") == "DSPyCompilation" for document in documents)
    assert [error.message for document in documents for error in EDITORS.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.metrics", {}),
        ("spec.optimizer.bootstrapFewShotWithRandomSearch.max_rounds", 2),
        ("spec.program.entrypoint", "triage"),
        ("spec.swarm", {"pods": 0}),
        ("spec.data.train.path", "/app/too.jsonl"),
        ("kinds", "x"),
    ],
)
def test_the_schema_for_editors_rejects_mistakes(path: str, value: Any) -> None:
    document = yaml.safe_load((ROOT / "examples" / "triage" / "compilation.yaml").read_text(encoding="utf-8"))
    assert EDITORS.is_valid(document)
    *parents, last = path.split(".")
    reduce(dict.__getitem__, parents, document)[last] = value
    assert not EDITORS.is_valid(document)


def test_the_schema_for_editors_explains_every_pattern_in_words() -> None:
    found = list(_nodes(EDITORS.schema))
    assert [node for node in found if isinstance(node.get("pattern"), str) and "patternErrorMessage" not in node] == []
    assert any("pattern" in node for node in found)


def _nodes(given: Any) -> Iterator[dict[str, Any]]:
    if isinstance(given, dict):
        yield given
    for inner in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
        yield from _nodes(inner)


@pytest.mark.parametrize("name", Optimizer.members)
def test_every_optimizer_has_a_section_with_its_table_and_cost(name: str) -> None:
    text = generate_tables.OPTIMIZERS.read_text(encoding="utf-8")
    section = re.search(rf"^## {to_camel(name)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert f"<!-- parameters: {to_camel(name)} -->\n| parameter |" in section[1]
    assert "```python\n" in section[1]


def test_the_threat_model_says_what_the_operator_may_do() -> None:
    helpers = (ROOT / "charts" / "dspy-swarm" / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    rules = re.search(r'define "dspy-swarm.rules" -}}\n(.*?){{- end }}', helpers, re.DOTALL)
    assert rules is not None
    granted = {resource: rule["verbs"] for rule in yaml.safe_load(rules[1]) for resource in rule["resources"]}
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = page.split("## What the operator may do")[1]
    told = {
        row[0]: re.sub(r" \(.*\)", "", row[1]).split(", ")
        for row in re.findall(r"^\| `(.*?)` \| (.*?) \|$", table, re.M)
    }
    assert told == granted
    assert "secrets" not in helpers
