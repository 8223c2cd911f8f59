"""The worker: knows DSPy, never Kubernetes.

pod/          plan and work, the processes that pods run
replay/       how a plan is made durable: hooks, effects, engine
lookahead/    how a round becomes wide
journal/      what was paid for
content/      object graphs, named by their content and carried between processes
determinism/  whether a program does the same in every process
client/       DSPy's LM client
provider/     what requests cost, and how fast they are sent
imaginary/    models that exist in this process only
user/         what the user brings: program, metric, data, models, optimizer
local/        the local driver: plan and work without a cluster
"""

from typing import Any


def lm(name: str, otherwise: Any = None) -> Any:
    """The dspy.LM that `spec.models` has under a name, for a program or metric: `swarm_worker.lm("judge")`.

    In a run, student, teacher, prompt and extraction are always there; one that the spec leaves out is the student.
    Outside of a run, as where plain DSPy uses the compiled program, it is `otherwise`, or else the LM of
    `dspy.configure`.

    Raises BadInput, which ends the run, where the spec has no such name; LookupError where there is no LM outside.
    """
    from swarm_worker.user import roles

    return roles.find(name, otherwise)
