"""Adds the user's trainer to a pod (pure).

Three containers run one after the other: `stage` writes what the trainer reads, the trainer trains, and the pod's own
container keeps the result. The trainer gets no API key, and no folder of the run but its own two.
"""

from typing import Final

from swarm_operator.compilation.apply.metadata import Manifest
from swarm_operator.compilation.apply.pod_parts import placement, plain
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import StartJob
from swarm_wire import names
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.trainer import Trainer

WRITABLE: Final = frozenset({str(names.FINETUNE_DIR), str(names.OUT_DIR), str(names.WEIGHTS_DIR)})
"""Folders of a pod with a trainer to which its containers write."""
SCRATCH: Final = "scratch"
SHARED_MEMORY: Final = "shared-memory"
GPU: Final = "nvidia.com/gpu"


def volumes(spec: CompilationSpec) -> dict[str, Manifest]:
    """Returns the further volumes of a pod with a trainer, by mount path."""
    trainer = spec.trainer
    assert trainer is not None, "the pod has a trainer"
    mounted: dict[str, Manifest] = {str(names.FINETUNE_DIR): {"emptyDir": {}}, str(names.OUT_DIR): {"emptyDir": {}}}
    if (base := trainer.base.volume) is not None:
        claim = {"claimName": base.claim_name, "readOnly": True}
        mounted[str(names.VOLUMES_DIR / base.claim_name)] = {"persistentVolumeClaim": claim}
    if (kept := trainer.output.persistent_volume_claim) is not None:
        mounted[str(names.WEIGHTS_DIR)] = {"persistentVolumeClaim": {"claimName": kept.claim_name}}
    return mounted


def environment(spec: CompilationSpec) -> dict[str, str]:
    """Returns the further variables of the containers of ours."""
    trainer = spec.trainer
    return {names.ENV_WEIGHTS: trainer.output.url} if trainer is not None and trainer.output.url else {}


def pod(made: Manifest, order: StartJob, variables: list[Manifest]) -> Manifest:
    """Returns the spec of a pod with the containers that come before its own.

    Args:
        variables: the environment of the trainer.
    """
    trainer = order.run.spec.trainer
    assert trainer is not None, "the pod has a trainer"
    [own] = made["containers"]
    return {
        **made,
        **placement(trainer),
        "initContainers": [
            {**own, "name": object_names.STAGE, "args": ["stage"]},
            _trainer(trainer, order, own, variables),
        ],
        "volumes": [
            *made["volumes"],
            # Weights of a base may be of any size, so this folder has no limit of its own.
            {"name": SCRATCH, "emptyDir": {}},
            # Processes of several GPUs talk through it, and a container's own has 64 MiB.
            {"name": SHARED_MEMORY, "emptyDir": {"medium": "Memory"}},
        ],
    }


def _trainer(trainer: Trainer, order: StartJob, own: Manifest, variables: list[Manifest]) -> Manifest:
    shared = {str(names.FINETUNE_DIR): True, str(names.OUT_DIR): False}
    if (base := trainer.base.volume) is not None:
        shared[str(names.VOLUMES_DIR / base.claim_name)] = True
    gpus = {GPU: str(trainer.gpus)} if trainer.gpus else {}
    mounts = [
        {**each, "readOnly": shared[path]} for each in own["volumeMounts"] if (path := each["mountPath"]) in shared
    ]
    values = {"HOME": "/tmp", names.ENV_FINETUNE_DIR: str(names.FINETUNE_DIR), names.ENV_OUT_DIR: str(names.OUT_DIR)}
    return {
        "name": object_names.TRAINER,
        "image": trainer.image or order.run.image,
        **({"imagePullPolicy": order.pull_policy} if order.pull_policy and not trainer.image else {}),
        **({"command": list(trainer.command)} if trainer.command else {}),
        "env": [*plain(values), *variables],
        "resources": {
            "requests": {**trainer.resources.requested, **gpus},
            "limits": {**trainer.resources.limits, **gpus},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *mounts,
            {"name": SCRATCH, "mountPath": "/tmp"},
            {"name": SHARED_MEMORY, "mountPath": "/dev/shm"},
        ],
    }
