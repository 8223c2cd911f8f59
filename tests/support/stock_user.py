"""A user's script with stock DSPy: it imports the program, configures DSPy, compiles and scores.

It runs in a fork of a process that has imported DSPy, and imports the user's module anew. It passes `num_threads` to
optimizers and evaluations, so it does not change a user's `dspy.configure(num_threads=...)`.
"""

import importlib
import inspect
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt import COPRO, InferRules


def write(case: Mapping[str, Any], environment: Mapping[str, str], target: str) -> None:
    """Runs the script of a case and writes its result, as JSON, to `target`. Ends the process.

    The case has "module", "optimizer", "parameters" (DSPy's), "threads" and "folder", which is the working directory.
    """
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(case["folder"])
    sys.path.insert(0, case["folder"])
    log = io.StringIO()
    with tempfile.TemporaryDirectory() as cache, redirect_stdout(log), redirect_stderr(log):
        os.environ["DSPY_CACHEDIR"] = cache
        try:
            found = script(case)
        except BaseException as error:
            found = {"error": f"{type(error).__name__}: {error}"}
    Path(target).write_text(json.dumps({**found, "log": log.getvalue()[-20_000:]}, default=str), encoding="utf-8")
    os._exit(0)


def script(case: Mapping[str, Any]) -> dict[str, Any]:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    module: Any = importlib.import_module(case["module"])
    url, threads = os.environ["PROVIDER"], case["threads"]
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini", api_base=url, api_key="none"))
    train, validation = module.train(), module.validation()
    known = {"inputs": list(train[0].inputs().keys())}
    student = module.program if isinstance(module.program, dspy.Module) else module.program()
    metric = getattr(module, case["metric"])

    def score(program: Any) -> float:
        evaluate = dspy.Evaluate(
            devset=validation,
            metric=metric,
            num_threads=threads,
            max_errors=len(validation) + 1,
            display_progress=False,
        )
        return float(evaluate(program).score)

    try:
        baseline = score(student)
        winner = compiled(case, module, metric, student, train, validation)
        best = score(winner)
        state = saved(winner)
    except BaseException as error:
        return {**known, "error": f"{type(error).__name__}: {error}"}
    return {**known, "program": state, "scores": {"baseline": baseline, "best": best}}


def saved(program: Any) -> Any:
    """Returns the content of the file that the user's `save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.json"
        program.save(str(path))
        return json.loads(path.read_text(encoding="utf-8"))


def compiled(case: Mapping[str, Any], module: Any, metric: Any, student: Any, train: Any, validation: Any) -> Any:
    given, threads = dict(case["parameters"]), {"num_threads": case["threads"]}
    both = {"trainset": train, "valset": validation}
    match case["optimizer"]:
        case "labeledFewShot":
            return dspy.LabeledFewShot(**given).compile(student, trainset=train)
        case "bootstrapFewShot":
            return dspy.BootstrapFewShot(metric=metric, **given).compile(student, trainset=train)
        case "bootstrapFewShotWithRandomSearch":
            return dspy.BootstrapFewShotWithRandomSearch(metric=metric, **threads, **given).compile(student, **both)
        case "inferRules":
            return InferRules(metric=metric, **threads, **given).compile(student, **both)
        case "copro":
            copro = COPRO(metric=metric, **given)
            return copro.compile(student, trainset=train, eval_kwargs={**threads, "display_progress": False})
        case "miprov2":
            names = inspect.signature(dspy.MIPROv2).parameters
            called = {name: given.pop(name) for name in list(given) if name not in names}
            mipro = dspy.MIPROv2(metric=metric, auto=None, **threads, **given)
            return mipro.compile(student, **both, **called)
        case "simba":
            seed = {"seed": given.pop("seed", 0)}
            return dspy.SIMBA(metric=metric, **threads, **given).compile(student, trainset=train, **seed)
        case "gepa":
            gepa = dspy.GEPA(metric=metric, reflection_lm=dspy.settings.lm, **threads, **given)
            return gepa.compile(student, **both)
        case "custom":
            optimize = getattr(module, given["entrypoint"])
            return optimize(student=student, trainset=train, valset=validation, metric=metric)
        case other:
            raise ValueError(f"no such optimizer: {other}")
