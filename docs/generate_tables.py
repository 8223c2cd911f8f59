"""Generates the tables of docs/optimizers.md, docs/reference.md and docs/continuous.md, and the files in schema/.

The sources are the models of spec and status. Usage: `python docs/generate_tables.py [--check]`.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import editor
import name_references
import reference
from crd import structural
from swarm_wire.spec.optimizers import Optimizer

ROOT = Path(__file__).parents[1]
OPTIMIZERS = ROOT / "docs" / "optimizers.md"
REFERENCE = ROOT / "docs" / "reference.md"
TRIGGER = ROOT / "docs" / "continuous.md"
SCHEMA = ROOT / "schema" / "dspycompilation.schema.json"
REFERENCES = ROOT / "schema" / "kustomize-name-references.yaml"
TABLE = re.compile(r"(?<=<!-- parameters: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIELDS = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- end -->)", re.DOTALL)


def optimizers(page: str) -> str:
    """Returns the page with current tables."""
    found = structural(Optimizer)["properties"]
    return TABLE.sub(lambda table: f"{table[1]}{table[2]}{reference.table(found[table[1]], head='parameter')}", page)


def fields(page: str) -> str:
    """Returns the page with current sections of a Compilation."""
    return FIELDS.sub(lambda _: reference.compilation(), page)


def trigger(page: str) -> str:
    """Returns the page with current sections of a trigger."""
    return FIELDS.sub(lambda _: reference.trigger(), page)


GENERATED: Mapping[Path, Callable[[str], str]] = {
    OPTIMIZERS: optimizers,
    REFERENCE: fields,
    TRIGGER: trigger,
    SCHEMA: lambda _: editor.text(),
    REFERENCES: lambda _: name_references.text(),
}
"""File -> function that makes the current text from the file's present text."""


def main(arguments: list[str] | None = None, generated: Mapping[Path, Callable[[str], str]] = GENERATED) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not current")
    check = parser.parse_args(arguments).check
    stale = False
    for path, made in generated.items():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = made(before)
        if check and before != after:
            sys.stderr.write(f"{path} is not what the models say. Run: make docs\n")
            stale = True
        elif before != after:
            path.parent.mkdir(exist_ok=True)
            path.write_text(after, encoding="utf-8")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
