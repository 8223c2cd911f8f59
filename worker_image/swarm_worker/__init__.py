"""The worker: knows DSPy, never Kubernetes.

plan        replays the stock optimizer from the journal until it lacks a result
work        runs one slice of the cells that plans asked for
replay/     how a plan is made durable: hooks, effects, digests, engine
user/       what the user brings: program, metric, data, models, optimizer
local/      the local driver: the same plan and work processes, without a cluster
process     what plan and work share as processes: output, signals, commit, exit
"""

from typing import Any


def lm(name: str, otherwise: Any = None) -> Any:
    """The dspy.LM that `spec.models` has under a name, for a program or metric: `swarm_worker.lm("judge")`.

    In a run, student, teacher, prompt and extraction are always there; one that the spec leaves out is the student.
    Outside of a run, as where plain DSPy uses the compiled program, it is `otherwise`, or else the LM of
    `dspy.configure`.

    Raises BadInput, which ends the run, where the spec has no such name; LookupError where there is no LM outside.
    """
    from swarm_worker import roles

    return roles.find(name, otherwise)
