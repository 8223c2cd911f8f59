"""Creating a Job, and how often that is tried."""

from typing import Final

from swarm_operator.compilation.decide.conditions import Verdict
from swarm_operator.compilation.decide.moves import Move, release
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.waiting import foreign_artifact, missing_input
from swarm_operator.compilation.model.actions import (
    ClaimName,
    StartPlan,
    StartWork,
)

EXTRA_ATTEMPTS: Final = 10
"""Attempts that disruptions may cost on top of maxAttempts: so that nothing goes round for ever."""


def start(s: Situation, verdict: Verdict, action: StartPlan | StartWork) -> Move:
    """Creates a Job, if the run may go on."""
    # Pods that mount what is not there would hang without a word; a run that may not write its result is not paid for,
    # and from its first Job on nobody else takes the result's name.
    claim = () if s.world.artifact else (ClaimName(),)
    go = Move(verdict, (*release(s.world.harvest.settled), *claim, action), s.settings.gather_interval)
    return foreign_artifact(s) or missing_input(s) or go
