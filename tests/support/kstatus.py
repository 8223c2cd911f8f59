"""The rules of kstatus for objects with conditions, by which Flux and other tools see the progress of an object.

Source: fluxcd/cli-utils, pkg/kstatus/status, `genericStatus`.
"""

from typing import Any


def kstatus(found: dict[str, Any]) -> str:
    """Returns "Terminating", "InProgress", "Failed" or "Current"."""
    if "deletionTimestamp" in found["metadata"]:
        return "Terminating"
    status, generation = found.get("status", {}), found["metadata"]["generation"]
    if status.get("observedGeneration", generation) != generation:
        return "InProgress"
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return {"True": "Current", None: "Current"}.get(conditions.get("Ready"), "InProgress")
