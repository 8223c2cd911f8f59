"""What the documentation promises is there."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic.alias_generators import to_camel

import generate_tables
from swarm_operator.api import Reason
from swarm_wire.optimizers import Optimizer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told(reason: Reason) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "conditions.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= targets


def test_the_tables_of_the_optimizers_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert generate_tables.main(["--check"]) == 0, "run: make docs"
    stale = tmp_path / "optimizers.md"
    stale.write_text(generate_tables.PAGE.read_text(encoding="utf-8").replace("`numTrials`", "`trials`"))
    monkeypatch.setattr(generate_tables, "PAGE", stale)
    assert generate_tables.main(["--check"]) == 1
    assert generate_tables.main([]) == generate_tables.main(["--check"]) == 0


@pytest.mark.parametrize("name", Optimizer.members)
def test_every_optimizer_has_a_section_with_its_table_and_cost(name: str) -> None:
    text = generate_tables.PAGE.read_text(encoding="utf-8")
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
