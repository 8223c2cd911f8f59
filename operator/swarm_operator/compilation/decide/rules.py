"""The state machine: derives actions and status from a World, which is everything that a pass has read.

It is pure: `decide(world, now, settings)` reads nothing else and changes nothing. It asks RULES in order, and the first
rule that returns a Move decides. All state is in the cluster. So a pass may stop anywhere, and the next pass continues
from what it finds in the cluster.

    plan of round 0 -> tasks -> work, attempt 1, 2, ... -> plan of round 1 -> ... -> artifact -> published

If the program is in git, a fetch comes first. If data is at a URL, a download comes before the plan. If the artifact
goes to git, a publish comes last.

The order of writes matters in three places. The operator writes pods' output to the journal before it decides anything
from the journal. It releases a pod only after the journal has the pod's output. And it deletes the evidence of a
failure only after the status reports the failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.endings import (
    compiled,
    deletion,
    end_of_run,
    ended_by_limit,
    limited,
    superseded,
    suspended,
)
from swarm_operator.compilation.decide.moves import Move, fail
from swarm_operator.compilation.decide.refusals import (
    damaged_journal,
    invalid_spec,
    no_progress,
    restricted,
    stopped_by_a_pod,
    too_large,
    without_limiter,
)
from swarm_operator.compilation.decide.rounds import crowded, harvest, plan, scatter, unopened
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.tidying import tidy
from swarm_operator.compilation.decide.transfers import fetch
from swarm_operator.compilation.decide.waiting import first_seen
from swarm_operator.compilation.model.actions import Decision
from swarm_operator.compilation.model.world import World
from swarm_operator.settings import Settings
from swarm_wire.words import sentence

RULES: Final[Sequence[Callable[[Situation], Move | None]]] = (
    deletion,
    end_of_run,
    harvest,
    superseded,
    invalid_spec,
    stopped_by_a_pod,
    damaged_journal,
    suspended,
    restricted,
    without_limiter,
    unopened,
    compiled,
    ended_by_limit,
    crowded,
    too_large,
    no_progress,
    limited,
    fetch,
    scatter,
    plan,
)


def decide(world: World, now: datetime, settings: Settings) -> Decision:
    """Returns the Move of the first rule that makes one, and the deletions that do not depend on this Move."""
    situation = Situation(world, now, settings)
    move = next(answer for rule in RULES if (answer := rule(situation)) is not None)
    tidying = tuple(action for action in tidy(situation) if action not in move.actions)
    return replace(decision(world, now, move), tidying=tidying, settled=situation.settled is not None)


def ended(world: World, now: datetime, reason: Reason, message: str) -> Decision:
    """Returns the decision that ends the run, because an action can never succeed."""
    return decision(world, now, fail(reason, message))


def refused(world: World, now: datetime, error: errors.ApiError) -> Decision:
    """Returns the decision that reports an action which the API server refuses for now."""
    reason = Reason.API_UNAVAILABLE if isinstance(error, errors.Unavailable) else Reason.NOT_ALLOWED
    since = first_seen(world, reason, now)
    return decision(
        world, now, Move(Finding(State.RUNNING, reason, f"{sentence(str(error))} It is tried again.", since))
    )


def decision(world: World, now: datetime, move: Move) -> Decision:
    before = world.compilation.status
    after = reports.make(world, move.finding, now) if move.finding else None
    return Decision(
        actions=move.actions,
        status=after,
        events=reports.events(before, after) if after else (),
        wake_up=move.wake_up,
    )
