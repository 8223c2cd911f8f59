"""A trigger begins a run by itself, and its Compilation goes with it."""

from typing import Any

from support.cluster import Manifest, Namespace, condition
from support.compiles import StockRun
from support.e2e import finish, triage


def trigger(name: str, **spec: Any) -> Manifest:
    """Returns a trigger for every minute, and for changes of program and data."""
    template = {"spec": triage(name)["spec"]}
    return {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilationTrigger",
        "metadata": {"name": name},
        "spec": {"schedules": [{"cron": "* * * * *"}], "configMaps": True, "template": template, **spec},
    }


def test_a_trigger_begins_a_run_that_ends_as_stock_and_a_run_of_the_schedule_makes_no_lm_call(
    namespace: Namespace, stock: StockRun
) -> None:
    namespace.apply(trigger("each-minute"))
    namespace.kubectl("wait", "--for=create", "dspyc/each-minute", "--timeout=90s")
    namespace.wait_for("each-minute", lambda found: condition(found, "Ready") is not None)
    first = finish(namespace, "each-minute", stock)
    paid = namespace.requests()
    run = first["status"]["runId"]
    namespace.wait_for("each-minute", lambda found: found["status"]["runId"] != run)
    finish(namespace, "each-minute", stock)
    assert namespace.requests() == paid, "nothing has changed"
    print(namespace.kubectl("get", "dspyct"))
    found = namespace.get("dspyct", "each-minute")["status"]
    assert {each["status"] for each in found["conditions"]} == {"True"}
    causes = [each["cause"].split()[0] for each in found["runs"]]
    assert causes[-2:] in (["schedule", "configMaps"], ["schedule", "schedule"]), "a minute may begin before the change"
    namespace.kubectl("delete", "dspyct", "each-minute")
    namespace.wait_gone("jobs", **{"dspy-swarm.dev/run": run})
