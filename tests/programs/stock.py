"""The reference: the same compile by stock DSPy in one process, written as its documentation would have it.

Run as `python stock.py CASE`, CASE being JSON; prints the winner and its candidates as JSON.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import dspy

import replay_programs

TRIAGE = Path(__file__).parents[2] / "examples" / "triage" / "data"


def examples(name: str, limit: int) -> list[Any]:
    lines = (TRIAGE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
    return [dspy.Example(**json.loads(line)).with_inputs("ticket") for line in lines]


def compiled(case: dict[str, Any]) -> Any:
    student, metric = getattr(replay_programs, case["program"])(), getattr(replay_programs, case["metric"])
    train, validation = examples("train", case["train"]), examples("validation", case["validation"])
    teacher = {"lm": dspy.LM("openai/large", api_base=case["url"], api_key="none")} if case.get("teacher") else {}
    parameters = case["parameters"]
    match case["optimizer"]:
        case "labeledFewShot":
            return dspy.LabeledFewShot(**parameters).compile(student, trainset=train)
        case "bootstrapFewShot":
            bootstrap = dspy.BootstrapFewShot(metric=metric, teacher_settings=teacher, **parameters)
            return bootstrap.compile(student, trainset=train)
        case _:
            search = dspy.BootstrapFewShotWithRandomSearch(metric=metric, teacher_settings=teacher, **parameters)
            return search.compile(student, trainset=train, valset=validation)


def main() -> None:
    case = json.loads(sys.argv[1])
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    dspy.configure(lm=dspy.LM("openai/small", api_base=case["url"], api_key="none"))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            winner = compiled(case)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return
    state = winner.dump_state()
    ranking = [candidate["score"] for candidate in getattr(winner, "candidate_programs", [])]
    print(json.dumps({"program": state, "ranking": ranking}, default=str))


if __name__ == "__main__":
    main()
