"""Which changes of a spec begin a new run."""

from swarm_wire.spec.compilation import CompilationSpec


def is_same_run(old: CompilationSpec, new: CompilationSpec) -> bool:
    """Whether a run of the old spec goes on under the new one.

    It does if only `suspend`, `limits`, `models.*.limits` or `ttlSecondsAfterFinished` differ. A new spec that names no
    image keeps the old one. `limits.cellSeconds` decides the outcome of a cell, so its change begins a new run.
    """
    same = {
        "suspend": old.suspend,
        "limits": old.limits.model_copy(update={"cell_seconds": new.limits.cell_seconds}),
        "ttl_seconds_after_finished": old.ttl_seconds_after_finished,
        "image": new.image or old.image,
        "models": new.models.with_limits_of(old.models),
    }
    return new.model_copy(update=same) == old
