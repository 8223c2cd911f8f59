"""The worker runs DSPy, and never talks to Kubernetes.

pod/          plan and work, the processes that pods run
replay/       makes a plan durable: hooks, effects, engine
lookahead/    finds more work for a round
journal/      reads finished results and LM calls
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
    """Returns the dspy.LM that `spec.models` has under a name. A program or metric calls `swarm_worker.lm("judge")`.

    A run always has the names student, teacher, prompt and extraction. A name that the spec omits means the student.
    Outside of a run, for example in plain DSPy, the function returns `otherwise`. If `otherwise` is None, it returns
    the LM of `dspy.configure`.

    In a run, raises BadInput if the spec has no model of that name; the run then ends. Outside of a run, raises
    LookupError if there is no LM.
    """
    from swarm_worker.user import roles

    return roles.find(name, otherwise)
