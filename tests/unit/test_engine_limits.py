"""Accounts add up spending, and the rest of each limit is divided among pods."""

from typing import Any

import pytest

from support.wire import task
from swarm_engine.accounts import Accounts, repeated
from swarm_engine.limits import affordable, spent_limit, too_little
from swarm_engine.slicing import missing_cells
from swarm_wire.message_base import MOST
from swarm_wire.messages import Commit, Ending, Task
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance, Booked, Spending, Usage

ONE, TWO, THREE = task(1, 10), task(2, 10), task(3, 10)


def cells(*tasks: Task) -> list[tuple[Task, int]]:
    return missing_cells(tasks, ())


def booked(account: str, calls: int, final: bool = False) -> Booked:
    return Booked(account=account, spent=Spending(calls=calls), final=final)


@pytest.mark.parametrize(
    ("told", "calls"),
    [
        ([], 0),
        ([booked("a", 3), booked("a", 5), booked("a", 4)], 5),
        ([booked("a", 5), booked("a", 2, final=True)], 2),
        ([booked("a", 2, final=True), booked("a", 5)], 2),
        ([booked("a", 2, final=True), booked("a", 9, final=True)], 2),
        ([booked("a", 2), booked("b", 3, final=True)], 5),
    ],
)
def test_the_final_report_of_a_pods_spending_outweighs_larger_reports(told: list[Booked], calls: int) -> None:
    accounts = Accounts()
    for each in told:
        accounts.book(each)
    assert accounts.total == Spending(calls=calls)


def test_lost_calls_of_several_pods_add_up_and_count_once_for_each_pod() -> None:
    accounts = Accounts()
    for account, lost in (("a", 2), ("a", 2), ("b", 3), ("c", 0)):
        accounts.book(Booked(account=account, spent=Spending(), repeated=lost, final=True))
    assert accounts.repeated == 5


@pytest.mark.parametrize(
    ("commit", "kept", "lost"),
    [
        ({"spent": Spending(calls=5)}, [3, 2], 0),
        ({"spent": Spending(calls=5)}, [3], 2),
        ({"spent": Spending(calls=5)}, [], 5),
        ({"spent": Spending(calls=5)}, [3, 9], 0),  # the process also printed calls that it did not pay for
        ({}, [3], 0),
        (None, [3], 4),
    ],
)
def test_calls_that_a_process_paid_for_but_did_not_print_count_as_lost(
    commit: dict[str, Any] | None, kept: list[int], lost: int
) -> None:
    said = None if commit is None else Commit(nonce="n", exit_code=1, **commit)
    assert repeated(said, [Usage(calls=calls) for calls in kept], threads=4) == lost


@pytest.mark.parametrize(
    ("limits", "spent", "parts", "each"),
    [
        ({}, Spending(calls=5), 3, Allowance()),
        ({"lm_calls": 10}, Spending(calls=3), 1, Allowance(calls=7)),
        ({"lm_calls": 10}, Spending(calls=3), 4, Allowance(calls=1)),
        ({"lm_calls": 10}, Spending(calls=12), 1, Allowance(calls=0)),
        ({"total_tokens": 100, "cost_usd": 0.5}, Spending(tokens=40), 2, Allowance(tokens=30, micro_usd=250_000)),
    ],
)
def test_concurrent_processes_share_the_rest_of_a_limit(
    limits: dict[str, Any], spent: Spending, parts: int, each: Allowance
) -> None:
    assert Allowance.of(Limits(**limits)).less(spent).shared(parts) == each


@pytest.mark.parametrize(
    ("left", "spent", "finished", "taken"),
    [
        # The process gets only whole tasks. The cost of a cell so far says how many it can finish.
        (Allowance(), Spending(), 0, 30),
        (Allowance(calls=30), Spending(), 0, 30),
        (Allowance(calls=29), Spending(), 0, 20),
        (Allowance(calls=19), Spending(), 0, 10),
        (Allowance(calls=40), Spending(calls=20), 10, 20),
        (Allowance(tokens=2000), Spending(calls=10, tokens=1000), 10, 20),
        (Allowance(micro_usd=999), Spending(calls=10, micro_usd=1000), 10, 10),
        # The process gets at least one cell, but never more cells than calls.
        (Allowance(tokens=1), Spending(calls=10, tokens=1000), 10, 10),
        (Allowance(calls=4), Spending(), 0, 4),
    ],
)
def test_a_process_under_a_limit_gets_only_whole_tasks_that_it_can_likely_finish(
    left: Allowance, spent: Spending, finished: int, taken: int
) -> None:
    found = affordable(cells(ONE, TWO, THREE), left, spent, finished)
    assert list(found) == cells(ONE, TWO, THREE)[:taken]


def test_the_weight_of_a_cell_says_how_many_calls_of_the_allowance_it_needs() -> None:
    heavy = task(9, 1, weight=20)
    assert len(affordable(cells(heavy, ONE), Allowance(calls=25), Spending(), 0)) == 1


def test_limits_are_described_in_words() -> None:
    limits = Limits(lm_calls=10, total_tokens=100, cost_usd=0.5)
    assert spent_limit(limits, Allowance(calls=1, tokens=1, micro_usd=1)) is None
    assert spent_limit(limits, Allowance(calls=0, tokens=1, micro_usd=1)) == "limits.lmCalls: 10"
    assert spent_limit(limits, Allowance(calls=1, tokens=0, micro_usd=1)) == "limits.totalTokens: 100"
    assert spent_limit(limits, Allowance(calls=1, tokens=1, micro_usd=0)) == "limits.costUSD: 0.5"
    said = too_little(limits, Spending(calls=9, tokens=90, micro_usd=400_000))
    assert "9 of limits.lmCalls: 10, 90 of limits.totalTokens: 100, 0.4000 of limits.costUSD: 0.5" in said


def test_a_run_that_a_limit_ended_stays_ended_until_the_limit_is_raised_or_removed() -> None:
    ending = Ending(why="", limits=Limits(lm_calls=10))
    assert ending.holds(Limits(lm_calls=10))
    assert ending.holds(Limits(lm_calls=10, publish_partial=True)), "that changes no bound"
    assert not ending.holds(Limits(lm_calls=11))
    assert not ending.holds(Limits())


def test_a_report_of_spending_does_not_change_the_account_of_another_pod() -> None:
    accounts = Accounts()
    for told in (booked("a", 5), booked("b", MOST), booked("b", 0, final=True)):
        accounts.book(told)
    assert accounts.total == Spending(calls=5)


def test_sums_of_spending_stay_within_the_integers_of_json() -> None:
    assert Usage(calls=MOST) + Usage(calls=MOST) == Usage(calls=MOST)
    with pytest.raises(ValueError, match="calls"):
        Usage(calls=MOST + 1)


@pytest.mark.parametrize("account", ["work-0-1-1", "work-0-1-1-uid"])
def test_an_account_is_found_by_the_name_of_its_pod(account: str) -> None:
    accounts = Accounts()
    accounts.book(booked(account, 1, final=True))
    assert accounts.has_closed("work-0-1-1")
    assert not accounts.has_closed("work-0-1-10")
