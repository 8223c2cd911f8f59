"""Writes the parameter tables of docs/optimizers.md: `python docs/generate_tables.py [--check]`."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from swarm_operator.crd import structural
from swarm_wire.optimizers import Optimizer
from swarm_wire.schema import HIGHEST

PAGE = Path(__file__).parent / "optimizers.md"
TABLE = re.compile(r"(?<=<!-- parameters: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def generated(text: str) -> str:
    """The page with its tables as they should be."""
    optimizers = structural(Optimizer)["properties"]
    return TABLE.sub(lambda found: f"{found[1]}{found[2]}{_table(optimizers[found[1]])}", text)


def _table(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        f"| `{name}` | {_type(given)} | {_default(given, name in required)} | {given['description']} |\n"
        for name, given in schema["properties"].items()
    ]
    return "".join(["| parameter | | default | |\n", "|---|---|---|---|\n", *rows])


def _type(given: dict[str, Any]) -> str:
    if "enum" in given:
        return ", ".join(given["enum"])
    low, high = given.get("minimum"), given.get("maximum")
    high = None if high == HIGHEST else high
    bounds = f" {low} .. {high}" if high is not None else f" ≥ {low}" if low is not None else ""
    return f"{given['type']}{bounds}"


def _default(given: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(given['default'])}`" if "default" in given else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not current")
    check = parser.parse_args(arguments).check
    before = PAGE.read_text(encoding="utf-8")
    after = generated(before)
    if check and before != after:
        sys.stderr.write(f"{PAGE} is not what the models say. Run: make docs\n")
        return 1
    if not check:
        PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
