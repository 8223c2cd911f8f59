"""Makes the tickets of examples/tiny: `python make_data.py [--seed 0] FOLDER`.

A ticket is an opening, a sentence with a phrase of its team, and an end. No ticket is in two files. The phrases are
those of examples/triage, so the simulated provider knows them. `prompts.jsonl` has what DSPy makes of the training
tickets, for the vocabulary of the tiny model.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

import dspy

from triage4 import Sort, Team

KNOWLEDGE = Path(__file__).parents[1] / "triage" / "knowledge.jsonl"
COUNTS = {"train": 1000, "validation": 40, "test": 200}
OPENINGS = (
    "Hello,",
    "Hi there.",
    "Good morning!",
    "Dear team,",
    "Quick question:",
    "Hey,",
    "To whom it may concern:",
    "Hi, me again.",
    "",
)
SENTENCES = (
    "I am writing about {}.",
    "There is something wrong with {}.",
    "Since last week {} bothers me.",
    "Can you look at {}?",
    "Please help with {}.",
    "It is about {}, as so often.",
    "My question concerns {}.",
    "I noticed {} yesterday.",
)
ENDS = (
    "Thanks!",
    "Kind regards, Ana",
    "Please answer soon.",
    "I would be glad to hear from you.",
    "Best, Tom",
    "I have been a customer for years.",
    "My order number is {}.",
    "",
)


def tickets(seed: int) -> Iterator[Mapping[str, str]]:
    """Yields different tickets without end. Teams take turns."""
    known = {each["label"]: each["phrases"] for each in map(json.loads, KNOWLEDGE.read_text("utf-8").splitlines())}
    dice, seen = random.Random(seed), set()
    for team in cycle(get_args(Team)):
        sentence = dice.choice(SENTENCES).format(dice.choice(known[team]))
        parts = dice.choice(OPENINGS), sentence, dice.choice(ENDS).format(dice.randint(1000, 9999))
        ticket = " ".join(filter(None, parts))
        if ticket not in seen:
            seen.add(ticket)
            yield {"ticket": ticket, "team": team}


def prompts(examples: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, object]]:
    """Yields the chats that DSPy makes of these tickets, with the right answers."""
    for each in examples:
        inputs, outputs = {"ticket": each["ticket"]}, {"team": each["team"]}
        yield dspy.ChatAdapter().format_finetune_data(signature=Sort, demos=[], inputs=inputs, outputs=outputs)


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    source = tickets(given.seed)
    made = {name: list(islice(source, count)) for name, count in COUNTS.items()}
    for name, lines in made.items():
        _write(given.folder / f"{name}.jsonl", lines)
    _write(given.folder / "prompts.jsonl", prompts(made["train"]))


def _write(file: Path, lines: Iterable[Mapping[str, object]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
