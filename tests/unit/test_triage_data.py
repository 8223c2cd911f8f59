"""The triage example has enough tickets, all distinct, and no ticket of one split resembles a ticket of another."""

import re
from collections import Counter
from itertools import combinations
from typing import get_args

import pytest

from simulated_provider.knowledge import read
from support.provider import TRIAGE, tickets
from triage import Category

LEAST = {"train": 120, "validation": 100, "test": 100}
LABELS = set(get_args(Category))


def shingles(text: str) -> set[str]:
    plain = re.sub(r"\W+", " ", text.lower()).strip()
    return {plain[at : at + 4] for at in range(max(1, len(plain) - 3))}


def similarity(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


ALL = [(split, each["ticket"]) for split in LEAST for each in tickets(split)]


@pytest.mark.parametrize("split", LEAST)
def test_each_split_is_large_enough_and_balanced(split: str) -> None:
    found = tickets(split)
    counts = Counter(each["category"] for each in found)
    assert len(found) >= LEAST[split]
    assert set(counts) == LABELS
    assert max(counts.values()) <= 1.5 * min(counts.values())
    assert all(set(each) == {"ticket", "category"} and each["ticket"].strip() for each in found)


@pytest.mark.parametrize("split", LEAST)
def test_the_first_examples_of_each_split_are_also_balanced(split: str) -> None:
    counts = Counter(each["category"] for each in tickets(split)[:27])
    assert set(counts) == LABELS
    assert max(counts.values()) <= 4


def test_no_ticket_occurs_twice() -> None:
    assert len({ticket.lower() for _, ticket in ALL}) == len(ALL) >= 320


def test_no_two_tickets_are_similar() -> None:
    sets = [(ticket, shingles(ticket)) for _, ticket in ALL]
    worst = max(combinations(sets, 2), key=lambda pair: similarity(pair[0][1], pair[1][1]))
    assert similarity(worst[0][1], worst[1][1]) < 0.35, (worst[0][0], worst[1][0])


def test_tickets_vary_in_length() -> None:
    lengths = sorted(len(ticket) for _, ticket in ALL)
    assert lengths[len(lengths) // 20] * 4 < lengths[-len(lengths) // 20]


def test_the_knowledge_of_the_provider_has_the_labels_of_the_tickets_and_copies_no_ticket() -> None:
    corpus = read(TRIAGE / "knowledge.jsonl")
    assert set(corpus.labels) == LABELS
    whole = {ticket.lower().strip("?!. ") for _, ticket in ALL}
    copies = [
        text for _, text in corpus.entries if len(text.split()) > 5 or text.lower() in whole - {"where is my order"}
    ]
    assert copies == []
