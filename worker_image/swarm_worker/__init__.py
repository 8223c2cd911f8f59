"""The worker: knows DSPy, never Kubernetes.

pod/          plan and work, the processes that pods run
replay/       makes a plan durable: hooks, effects, engine
lookahead/    finds more work for a round
journal/      results and LM calls that were paid for
content/      names object graphs by their content, and carries them between processes
determinism/  checks that a program does the same in every process
client/       DSPy's LM client
provider/     cost and rate of requests
imaginary/    models that exist only in this process
user/         the user's program, metric, data, models, optimizer
local/        the local driver: plan and work without a cluster
"""

from typing import Any


def lm(name: str, otherwise: Any = None) -> Any:
    """The dspy.LM that `spec.models` has under a name, for a program or metric: `swarm_worker.lm("judge")`.

    A run always has student, teacher, prompt and extraction; those that the spec omits are the student. Outside of a
    run, for example in plain DSPy with the compiled program, the LM is `otherwise`, or else that of `dspy.configure`.

    Raises BadInput, which ends the run, if the spec has no such name. Outside of a run, raises LookupError if there is
    no LM.
    """
    from swarm_worker.user import roles

    return roles.find(name, otherwise)
