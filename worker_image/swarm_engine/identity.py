"""Says which changes of a spec begin a new run."""

from swarm_wire.spec.compilation import CompilationSpec


def is_same_run(old: CompilationSpec, new: CompilationSpec) -> bool:
    """Whether a run of the old spec goes on under the new spec.

    The run goes on if only `suspend`, `limits`, `models.*.limits` or `ttlSecondsAfterFinished` differ. If the new spec
    names no image, the run keeps its image. A change of `limits.cellSeconds` begins a new run, since this limit decides
    how a cell ends.
    """
    same = {
        "suspend": old.suspend,
        "limits": old.limits.model_copy(update={"cell_seconds": new.limits.cell_seconds}),
        "ttl_seconds_after_finished": old.ttl_seconds_after_finished,
        "image": new.image or old.image,
        "models": new.models.with_limits_of(old.models),
    }
    return new.model_copy(update=same) == old
