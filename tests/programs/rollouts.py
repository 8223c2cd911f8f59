"""This module makes the number of every rollout the seed of its requests, so that a provider can tell rollouts apart.

DSPy does not send `rollout_id`. A real model answers equal requests differently. The simulated provider answers them
equally, or by order of arrival, which differs between one process and a swarm. With a seed, the answer to a rollout
depends only on its request, and differs from rollout to rollout. Both stock DSPy and the swarm import this module.
"""

from typing import Any

import dspy

_copy = dspy.LM.copy


def _copy_with_seed(self: dspy.LM, **changes: Any) -> dspy.LM:
    if (rollout := changes.get("rollout_id")) is not None:
        changes["seed"] = rollout
    return _copy(self, **changes)


dspy.LM.copy = _copy_with_seed
