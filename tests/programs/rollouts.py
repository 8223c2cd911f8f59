"""Rollouts that a provider can tell apart: importing this module makes every rollout's number the seed of its requests.

DSPy keeps `rollout_id` to itself. A real model answers equal requests differently; the simulated provider answers them
equally, or by order of arrival, which differs between one process and a swarm. With a seed, the answer to
a rollout is a function of the request again, and still differs from rollout to rollout. Stock and swarm both import it.
"""

from typing import Any

import dspy

_copy = dspy.LM.copy


def _copy_with_seed(self: dspy.LM, **changes: Any) -> dspy.LM:
    if (rollout := changes.get("rollout_id")) is not None:
        changes["seed"] = rollout
    return _copy(self, **changes)


dspy.LM.copy = _copy_with_seed
