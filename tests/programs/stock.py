"""The compile by stock DSPy with which tests compare ours: one process, written as in DSPy's documentation.

`python stock.py CASE FILE` takes a case as JSON, and writes the winner and the candidates to the file as JSON. It has
one thread, so DSPy's LM cache misses each request only once, and stock DSPy makes as few requests as it can.
"""

import contextlib
import importlib
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dspy
from dspy.clients.provider import Provider
from dspy.teleprompt import COPRO, BootstrapFewShotWithOptuna, InferRules

import replay_programs

TRIAGE = Path(__file__).parents[2] / "examples" / "triage" / "data"


def examples(name: str, limit: int) -> list[Any]:
    lines = (TRIAGE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
    return [dspy.Example(**json.loads(line)).with_inputs("ticket") for line in lines]


def programs(case: dict[str, Any]) -> Any:
    return importlib.import_module(case["module"])


def model(case: dict[str, Any], name: str) -> dspy.LM:
    return dspy.LM(f"{case['client']}/{name}", api_base=case["url"], api_key="none")


def compiled(case: dict[str, Any], student: Any) -> Any:
    metric = getattr(programs(case), case["metric"])
    train = examples("train", case["train"])
    validation = examples("validation", case["validation"]) if case["validation"] else None
    both = {"trainset": train, "valset": validation}
    teacher = {"lm": model(case, "large")} if case["teacher"] else {}
    prompt = model(case, "large") if case["prompt"] else None
    given = case["parameters"]
    match case["optimizer"]:
        case "labeledFewShot":
            return dspy.LabeledFewShot(**given).compile(student, trainset=train)
        case "bootstrapFewShot":
            bootstrap = dspy.BootstrapFewShot(metric=metric, teacher_settings=teacher, **given)
            return bootstrap.compile(student, trainset=train)
        case "bootstrapFewShotWithRandomSearch":
            search = dspy.BootstrapFewShotWithRandomSearch(metric=metric, teacher_settings=teacher, **given)
            return search.compile(student, **both)
        case "bootstrapFewShotWithOptuna":
            return with_optuna(metric, teacher, given).compile(student, max_demos=given["max_demos"], **both)
        case "inferRules":
            return InferRules(metric=metric, teacher_settings=teacher, **given).compile(student, **both)
        case "copro":
            return COPRO(metric=metric, prompt_model=prompt, **given).compile(student, trainset=train, eval_kwargs={})
        case "miprov2":
            made, called = divided({"auto": None if "num_trials" in given else "light", **given}, dspy.MIPROv2)
            mipro = dspy.MIPROv2(metric=metric, prompt_model=prompt, teacher_settings=teacher, **made)
            return mipro.compile(student, **both, **called)
        case "simba":
            made, called = divided(given, dspy.SIMBA)
            simba = dspy.SIMBA(metric=metric, prompt_model=prompt, teacher_settings=teacher or None, **made)
            return simba.compile(student, trainset=train, **called)
        case "gepa":
            gepa = dspy.GEPA(metric=metric, reflection_lm=prompt or dspy.settings.lm, **with_gepas_objects(given))
            return gepa.compile(student, **both)
        case "reAnchor":
            from dspy.experimental import ReAnchor

            return ReAnchor(metric, **given).compile(student, **both)
        case "bootstrapFinetune":
            return tuned(case, student, given)
        case "betterTogether":
            return together(case, student, given)
        case "custom":
            module, _, name = given["entrypoint"].partition(":")
            compile_: Callable[..., Any] = getattr(importlib.import_module(module), name)
            return compile_(student, train, validation, metric)
        case other:
            raise ValueError(f"no such optimizer: {other}")


def tuned(case: dict[str, Any], student: Any, given: dict[str, Any]) -> Any:
    """Tunes the small model on what the student does with the large one, if the case has a teacher."""
    student.set_lm(dspy.LM("openai/small", api_base=case["url"], api_key="none", provider=Adopting()))
    teacher = student.deepcopy()
    teacher.set_lm(model(case, "large"))
    passed = {name: given[name] for name in ("multitask", "exclude_demos") if name in given}
    made = {"exclude_demos": True, **passed}  # dspy-swarm's default
    tuner = dspy.BootstrapFinetune(metric=getattr(programs(case), case["metric"]), num_threads=4, **made)
    train = examples("train", case["train"])
    return tuner.compile(student, trainset=train, teacher=teacher if case["teacher"] else None)


def together(case: dict[str, Any], student: Any, given: dict[str, Any]) -> Any:
    """Compiles by BetterTogether, as DSPy's guides do. The teacher is a copy of the student as it is by then."""
    small = dspy.LM("openai/small", api_base=case["url"], api_key="none", provider=Adopting())
    student.set_lm(small)
    metric, train = getattr(programs(case), case["metric"]), examples("train", case["train"])
    validation = examples("validation", case["validation"]) if case["validation"] else None
    prompt = model(case, "large") if case["prompt"] else None
    [(which, options)] = given.get("p", {"bootstrapFewShotWithRandomSearch": {}}).items()
    called: dict[str, Any] = {}
    match which:
        case "miprov2":
            made, called = divided({"auto": None if "num_trials" in options else "light", **options}, dspy.MIPROv2)
            p: Any = dspy.MIPROv2(metric=metric, prompt_model=prompt, **made)
        case "gepa":
            p = dspy.GEPA(metric=metric, reflection_lm=prompt or dspy.settings.lm, **with_gepas_objects(options))
        case "simba":
            made, called = divided(options, dspy.SIMBA)
            p = dspy.SIMBA(metric=metric, prompt_model=prompt, **made)
        case "copro":
            p = COPRO(metric=metric, prompt_model=prompt, **options)
        case "labeledFewShot":
            p = dspy.LabeledFewShot(**options)
        case "bootstrapFewShot":
            p = dspy.BootstrapFewShot(metric=metric, **options)
        case "bootstrapFewShotWithOptuna":
            p, called = with_optuna(metric, {}, options), {"max_demos": options["max_demos"]}
        case _:
            p = dspy.BootstrapFewShotWithRandomSearch(metric=metric, **options)

    class Taught(dspy.BootstrapFinetune):
        def compile(self, student: Any, trainset: Any, teacher: Any = None) -> Any:
            if case["teacher"]:
                teacher = student.deepcopy()
                teacher.set_lm(model(case, "large"))
            return super().compile(student, trainset, teacher)

    class Kept(dspy.BetterTogether):
        """Improves prompts for the student's model, also by optimizers that forget it."""

        def _run_and_evaluate_step(self, optimizer: Any, student: Any, *more: Any) -> Any:
            resets = "FewShot" in type(optimizer).__name__
            with dspy.context(lm=student.predictors()[0].lm) if resets else contextlib.nullcontext():
                return super()._run_and_evaluate_step(optimizer, student, *more)

    passed = {name: given["w"][name] for name in ("multitask", "exclude_demos") if name in given["w"]}

    def by_score(*given: Any) -> Any:
        """Lets a metric's Prediction count by its score. To stock, it is always true."""
        found = metric(*given)
        return found.score if isinstance(found, dspy.Prediction) else found

    w = Taught(metric=by_score, num_threads=4, **{"exclude_demos": True, **passed})
    named = ("strategy", "valset_ratio", "shuffle_trainset_between_steps", "max_errors")
    return Kept(metric=metric, p=p, w=w).compile(
        student,
        trainset=train,
        valset=validation,
        seed=given.get("seed", 0),
        optimizer_compile_args={"p": called},
        **{name: given[name] for name in named if name in given},
    )


class Adopting(Provider):
    """Tunes no model, but finds one that the simulated provider has tuned with exactly these rows."""

    def __init__(self) -> None:
        super().__init__()
        self.finetunable = True

    @staticmethod
    def finetune(job: Any, model: str, train_data: list[Any], train_data_format: Any, train_kwargs: Any = None) -> str:
        url = os.environ["STOCK_URL"].removesuffix("/v1")
        with urlopen(f"{url}/admin/fine_tuning") as answer:
            jobs = {found["training_file"]: found["fine_tuned_model"] for found in json.load(answer)["jobs"]}
        for file, tuned in jobs.items():
            with urlopen(f"{url}/v1/files/{file}/content") as answer:
                if [json.loads(line) for line in answer.read().splitlines()] == train_data:
                    return f"openai/{tuned}"
        raise ValueError(f"no model was tuned with these {len(train_data)} rows")


def with_gepas_objects(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of dspy.GEPA with Python objects, as in a user's script."""
    made = dict(given)
    for name in ("instruction_proposer", "code_proposer", "component_selector"):
        if name in made:
            made[name] = getattr(replay_programs, made[name].partition(":")[2])
    passed_on = ("acceptance_criterion", "frontier_type", "merge_val_overlap_floor", "cache_evaluation")
    passed = {name: made.pop(name) for name in passed_on if name in made}
    if "sampling_strategy" in made:
        from gepa.strategies.proposal_sampling import IndependentSampling, PxNSampling, SameParentSampling

        kinds = {"pxN": PxNSampling, "sameParent": SameParentSampling, "independent": IndependentSampling}
        [(kind, numbers)] = made.pop("sampling_strategy").items()
        passed["sampling_strategy"] = kinds[kind](*numbers.values())
    if "selection_strategy" in made:
        from gepa.strategies.proposal_selection import BestImprovement, TopKImprovements

        [(kind, numbers)] = made.pop("selection_strategy").items()
        passed["selection_strategy"] = {"bestImprovement": BestImprovement, "topKImprovements": TopKImprovements}[kind](
            **numbers
        )
    return {**made, "gepa_kwargs": passed}


def divided(given: dict[str, Any], optimizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters of the optimizer's constructor, and those that only its `compile` takes."""
    names = inspect.signature(optimizer).parameters
    made = {name: value for name, value in given.items() if name in names}
    return made, {name: value for name, value in given.items() if name not in names}


def with_optuna(metric: Any, teacher: dict[str, Any], given: dict[str, Any]) -> Any:
    """Returns stock's optimizer with the swarm's seed for Optuna. Stock DSPy itself sets none, so compiles differ."""
    import optuna

    unseeded = optuna.create_study

    def create_study(**named: Any) -> Any:
        """Makes a sampler for each compile: a sampler's draws depend on those before."""
        return unseeded(sampler=optuna.samplers.TPESampler(seed=given.get("seed", 0)), **named)

    optuna.create_study = create_study
    made = {name: value for name, value in given.items() if name not in ("seed", "max_demos")}
    return BootstrapFewShotWithOptuna(metric=metric, teacher_settings=teacher, **made)


def count_calls() -> Callable[[], int]:
    """Counts the completions requested from now on, including those from the cache.

    It uses no callback of DSPy, since an agent would see the callback in the traceback of a failed tool.
    """
    made: list[int] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(lm: Any, *given: Any, **named: Any) -> Any:
            made.append(given[0].n if given else named.get("n") or 1)
            return function(lm, *given, **named)

        return call

    if find_spec("dspy.clients.execution"):
        from dspy.clients import execution

        execution.execute, execution.aexecute = counted(execution.execute), counted(execution.aexecute)
    else:  # in DSPy 3.3, no client calls another client
        dspy.LM.forward, dspy.LM.aforward = counted(dspy.LM.forward), counted(dspy.LM.aforward)
    return lambda: sum(made)


def scored(case: dict[str, Any]) -> list[Any]:
    """Returns the validation set, or the part of the training set that the optimizer uses instead."""
    if case["validation"]:
        return examples("validation", case["validation"])
    train = examples("train", case["train"])
    if case["optimizer"] == "betterTogether":
        return train[: int(case["parameters"].get("valset_ratio", 0.1) * len(train))] or train
    kept = {"miprov2": 0.2, "inferRules": 0.5}.get(case["optimizer"], 0)
    return train[round(kept * len(train)) :]


def score(program: Any, case: dict[str, Any]) -> float:
    metric, devset = getattr(programs(case), case["metric"]), scored(case)
    found: float = dspy.Evaluate(devset=devset, metric=metric, max_errors=len(devset) + 1)(program).score
    return found


def script(case: dict[str, Any]) -> dict[str, Any]:
    """Runs a user's script: it evaluates the student, compiles, and evaluates the winner."""
    student = getattr(programs(case), case["program"])()
    if case["state"]:
        student.load(case["state"])
    baseline = score(student, case)
    try:
        if case["distill"] is None:
            winner = compiled(case, student)
        else:
            with dspy.context(lm=model(case, "large")):
                optimized = compiled({**case, "teacher": False, "prompt": False}, student)
            winner = tuned(case, optimized.deepcopy(), case["distill"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    hundred = 1 if case["optimizer"] == "simba" else 100
    return {
        "program": winner.dump_state(),
        "ranking": [
            100 / hundred * candidate["score"]
            for candidate in getattr(winner, "candidate_programs", [])
            if candidate["score"] is not None
        ],
        "scores": {"baseline": baseline, "best": score(winner, case)},
    }


def main(given: str, target: str, environment: Mapping[str, str] | None = None) -> None:
    """Runs the script of a case.

    Args:
        environment: the environment variables of the process, if it is a fork.
    """
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    case, calls = json.loads(given), count_calls()
    os.environ["STOCK_URL"] = case["url"]
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    adapters = {
        "json": dspy.JSONAdapter,
        "xml": dspy.XMLAdapter,
        "twoStep": lambda: dspy.TwoStepAdapter(model(case, "large")),
    }
    dspy.configure(lm=model(case, "small"), num_threads=1)
    if case["adapter"]:
        dspy.configure(adapter=adapters[case["adapter"]]())
    with contextlib.redirect_stdout(io.StringIO()):
        found = script(case)
    Path(target).write_text(json.dumps({**found, "calls": calls()}, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
