"""Plan and worker, as processes, print records, end with exit codes and reasons, and react to SIGTERM."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.canary import printed
from support.worker import ROOT, Ended, Pod, interrupt, module, run_python, spec_of, until
from swarm_wire.messages import Outcome, PlanEnd, Result, SliceRef, Task
from swarm_wire.names import ExitCode
from swarm_wire.pod_output import Transcript
from swarm_wire.records import Record, RecordKind
from swarm_worker.errors import ProviderFailed, SwarmError
from swarm_worker.pod.work import hopeless

PROG = """
import multiprocessing, os, re, sys, subprocess, time
from pathlib import Path
import dspy
from dspy.utils.exceptions import LMAuthError, LMRateLimitError

HERE = Path(__file__).parent

class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        # what may print while a plan or a worker loads a program
        print("swarm/1 0123456789abcdef 0 1/1 1 " + "0" * 32 + " QQ==")
        os.system("echo from a child; echo to its error >&2")
        subprocess.run([sys.executable, "-c", "print('from python')"])
        os.write(1, b"to the descriptor\\n")

    def forward(self, question):
        print("printed by the program")
        (HERE / ("began-" + question)).touch()
        match question.split("-")[0]:
            case "rate":
                raise LMRateLimitError("slow down")
            case "auth":
                raise LMAuthError("the key sk-a-very-secret-key is wrong")
            case "raises":
                raise ValueError("no answer to " + question)
            case "generator":
                return dspy.Prediction(answer=(number for number in range(3)))
            case "memory":
                raise MemoryError
            case "exits":
                sys.exit(9)
            case "waits":
                while not (HERE / "go").exists():
                    time.sleep(0.01)
            case "regex":
                re.match("(a+)+$", "a" * 40 + "b")
            case "forks":
                child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
                child.start()
                child.terminate()
                child.join(30)
                assert child.exitcode == -15, child.exitcode
                assert not (HERE / "termination").exists(), "a last word of the child's"
        return dspy.Prediction(answer=question)

def metric(example, prediction, trace=None):
    return True

def train():
    return [{"question": word} for word in os.environ["WORDS"].split()]
"""


def prog(folder: Path, text: str = PROG, /, **changes: Any) -> Pod:
    module(folder, text)
    spec = spec_of("prog", program={"entrypoint": "prog:Program"}, **changes)
    return Pod(folder, spec)


def planned(pod: Pod, words: str = "a", **env: str) -> Ended:
    ended = pod.plan(WORDS=words, SWARM_LOOKAHEAD="0", SWARM_SMALL_WAVE="0", **env)
    assert ended.said == (0, None), ended.errors
    return ended


WORDS = [
    "a",
    "b",
    "c",
    "d",
    "raises-c",
    "rate-1",
    "generator",
    "memory",
    "exits",
    "waits-1",
    "waits-2",
    "forks",
    "regex",
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Returns a plan that needs a cell for each word."""
    return planned(prog(tmp_path_factory.mktemp("plan")), " ".join(WORDS))


def task_of(asked: Ended) -> Task:
    [task] = [Task.model_validate(record.header) for record in asked.records(RecordKind.TASK)]
    return task


def cells(asked: Ended, words: str) -> list[SliceRef]:
    return [SliceRef(task=task_of(asked).digest, cells=[WORDS.index(word) for word in words.split()])]


def started(pod: Pod, asked: Ended, words: str, **env: str) -> subprocess.Popen[bytes]:
    pod.assign(asked, [cells(asked, words)])
    return pod.start("work", **env)


def worked(pod: Pod, asked: Ended, words: str, **env: str) -> Ended:
    pod.assign(asked, [cells(asked, words)])
    return pod.work(**env)


def outcomes(ended: Ended) -> list[Outcome]:
    return [Result.model_validate(record.header).outcome for record in ended.records(RecordKind.RESULT)]


# --- a whole compile ---------------------------------------------------------------------------------------------


def test_a_plan_makes_tasks_workers_run_them_and_the_next_plan_makes_the_artifact(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    first = planned(pod, "a b a raises-c")
    end = PlanEnd.model_validate(first.records(RecordKind.PLAN)[0].header)
    task = task_of(first)
    assert (end.outcome, end.round, end.cells, end.tasks) == ("blocked", 0, 3, [task.digest])
    assert first.complete
    blobs = {record.header["key"] for record in first.records(RecordKind.BLOB)}
    assert {task.payload, task.items} == blobs

    pod.assign(first)
    work = pod.work(WORDS="a b a raises-c")
    assert work.said == (0, None)
    assert work.complete
    results = {record.header["key"]: Result.model_validate(record.header) for record in work.records(RecordKind.RESULT)}
    assert [results[cell.key].outcome for cell in task.cells] == [Outcome.OK, Outcome.OK, Outcome.ERROR]
    assert results[task.cells[2].key].error == "ValueError: no answer to raises-c (prog.py, line 28)"

    pod.journal = [*first.records(RecordKind.PLAN), *work.records(RecordKind.RESULT)]
    second = planned(pod, "a b a raises-c")
    assert len(task_of(second).cells) == 3, "the winner's cells: it has demos now"
    pod.assign(second)
    pod.journal += [*second.records(RecordKind.PLAN), *pod.work().records(RecordKind.RESULT)]
    last = planned(pod, "a b a raises-c")
    assert [last.transcript.records[number].kind for number in (0, 1)] == [RecordKind.ARTIFACT, RecordKind.PLAN]
    assert last.complete
    files = json.loads(last.records(RecordKind.ARTIFACT)[0].body)
    report = json.loads(files["report.json"])
    assert set(files) == {"program.json", "report.json", "report.md"}
    assert report["scores"]["baseline"] == 75.0
    assert report["failedCells"] == 2  # one failed cell counts in each of two evaluations
    assert len(json.loads(files["program.json"])["predict"]["demos"]) == 4


def test_a_metric_that_returns_no_score_ends_the_worker_at_its_first_example(tmp_path: Path) -> None:
    text = PROG.replace("    return True\n", "    return None\n")
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "def metric" in each)
    pod = prog(tmp_path, text, swarm={"threadsPerPod": 1})
    pod.assign(planned(pod, "a b c"))
    work = pod.work(WORDS="a b c")
    assert work.said == (ExitCode.BAD_INPUT, "EvaluationFailed")
    assert work.commit is not None
    assert str(work.commit.message).startswith(f"the metric (prog.py, line {line}) returns None, which is no score. ")
    assert [word for word in "abc" if (tmp_path / f"began-{word}").exists()] == ["a"], "nothing more is paid for"
    assert outcomes(work) == []


def test_the_output_holds_only_records_whatever_user_code_prints(tmp_path: Path, asked: Ended) -> None:
    work = worked(prog(tmp_path), asked, "a")
    for ended in (asked, work):
        assert all(line.startswith("swarm/1 ") for line in ended.output)
        assert ended.transcript.damaged == 0
        assert len(ended.output) == len(ended.transcript.records)
    for text in ("from a child", "to its error", "from python", "to the descriptor"):
        assert text in asked.errors
    assert "printed by the program" in work.errors


def test_changed_data_or_program_ends_the_next_plan(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    pod.journal = planned(pod, "a b").records(RecordKind.PLAN)
    ended = pod.plan(WORDS="a c")
    assert ended.said == (ExitCode.DRIFT, "SourceChanged")
    module(tmp_path, PROG + "\n# changed\n")
    assert pod.plan(WORDS="a b").said == (ExitCode.DRIFT, "SourceChanged")


def test_results_of_an_unfinished_plan_are_bound_to_its_data_and_program(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    whole = pod.plan(WORDS="a b", SWARM_LOOKAHEAD="0")
    pod.journal = [*whole.records(RecordKind.BOUND), *whole.records(RecordKind.RESULT)]
    assert len(pod.journal) > 1
    assert pod.plan(WORDS="a c").said == (ExitCode.DRIFT, "SourceChanged")
    again = pod.plan(WORDS="a b", SWARM_LOOKAHEAD="0")
    assert again.records(RecordKind.BOUND) == again.records(RecordKind.RESULT) == []


def test_a_changed_optimizer_function_of_the_user_ends_the_next_plan(tmp_path: Path) -> None:
    custom = "def compile(student, trainset, valset, metric):\n    return student\n"
    pod = prog(tmp_path, optimizer={"custom": {"entrypoint": "own_optimizer:compile"}})
    module(tmp_path, custom, "own_optimizer.py")
    pod.journal = planned(pod, "a").records(RecordKind.PLAN)
    module(tmp_path, custom + "# changed\n", "own_optimizer.py")
    assert pod.plan(WORDS="a").said == (ExitCode.DRIFT, "SourceChanged")
    (tmp_path / "own_optimizer.py").unlink()
    assert pod.plan(WORDS="a").said == (ExitCode.BAD_INPUT, "OptimizerInvalid")


def test_a_program_that_differs_from_process_to_process_ends_the_next_plan(tmp_path: Path) -> None:
    random = PROG.replace("super().__init__()", "super().__init__()\n        self.salt = os.urandom(8)")
    pod = prog(tmp_path, random)
    first = planned(pod, "a")
    pod.journal = first.records(RecordKind.PLAN)
    assert pod.plan(WORDS="a").said == (ExitCode.DRIFT, "Nondeterministic")


# --- ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said", "says"),
    [
        ("import nothing_like_it", (64, "ProgramLoadFailed"), "'nothing_like_it', which is not installed"),
        (
            PROG.replace("# what", "self.log = (line for line in 'ab')  #"),
            (64, "ProgramNotPortable"),
            "spec.program: log is a generator",
        ),
    ],
)
def test_a_plan_that_cannot_use_its_program_names_the_reason(
    tmp_path: Path, text: str, said: tuple[int, str | None], says: str | None
) -> None:
    ended = prog(tmp_path, text).plan(WORDS="a")
    assert ended.said == said, ended.errors
    assert ended.complete
    if says:
        assert ended.commit is not None
        assert says in (ended.commit.message or "")
        assert says in ended.errors


def test_a_request_that_has_another_version_is_refused(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    pod.request(schemaVersion=2)
    ended = pod.plan(WORDS="a")
    assert ended.said == (ExitCode.SCHEMA_MISMATCH, "SchemaMismatch")
    assert ended.commit is not None
    assert "speaks version 2 of the contract, this worker image speaks 1" in (ended.commit.message or "")


def test_an_assignment_that_has_another_version_is_refused(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path)
    pod.assign(asked, version=7)
    assert pod.work().said == (ExitCode.SCHEMA_MISMATCH, "SchemaMismatch")


def test_a_spec_with_fields_that_the_worker_does_not_know_is_bad_input(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    pod.request(spec={"unknown": 1})
    assert pod.plan(WORDS="a").said == (ExitCode.BAD_INPUT, "InvalidSpec")


def test_a_process_without_the_runs_request_fails_and_may_be_repeated(tmp_path: Path) -> None:
    pod = prog(tmp_path)
    (tmp_path / "run").mkdir()
    ended = pod.plan(WORDS="a")
    assert ended.said == (ExitCode.FAILED, "WorkerFailed")
    assert "request.json cannot be read: No such file or directory. Plans and workers are started by" in ended.errors
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize(
    ("words", "threads", "said", "results"),
    [
        ("rate-1 a b c", 2, (1, "ProviderFailed"), 3),  # the other cells go on after a failed cell
        ("memory a", 1, (1, "InfrastructureFailed"), 0),
        ("generator a", 1, (64, "ResultNotPortable"), 0),
        ("exits a", 1, (64, "ProgramExits"), 0),
    ],
)
def test_a_worker_that_cannot_finish_its_cells_names_the_reason(
    tmp_path: Path, asked: Ended, words: str, threads: int, said: tuple[int, str], results: int
) -> None:
    ended = worked(prog(tmp_path, **{"swarm.threadsPerPod": threads}), asked, words)
    assert ended.said == said, ended.errors
    assert ended.complete
    assert len(ended.records(RecordKind.RESULT)) == results


@pytest.mark.parametrize(
    ("failed", "is_hopeless"),
    [
        ([], False),
        ([ProviderFailed("429")], False),
        ([ProviderFailed("429")] * 2, True),
        ([SwarmError("out of memory")], True),
    ],
    ids=["no error", "one provider error", "a provider error for each thread", "another error"],
)
def test_a_worker_stops_after_a_fault_of_its_own_or_after_a_provider_error_in_each_thread(
    failed: list[SwarmError], is_hopeless: bool
) -> None:
    assert hopeless(failed, threads=2) is is_hopeless


def test_an_api_key_that_a_provider_repeats_in_an_error_is_redacted(tmp_path: Path) -> None:
    student: dict[str, Any] = {"model": "openai/m", "endpoint": "http://127.0.0.1:1/v1"}
    student |= {"apiKey": {"secret": {"name": "s", "key": "k"}}}
    pod, key = prog(tmp_path, models={"student": student}), {"SWARM_API_KEY_STUDENT": "sk-a-very-secret-key"}
    pod.assign(planned(pod, "auth", **key))
    ended = pod.work(WORDS="auth", **key)
    assert ended.said == (ExitCode.BAD_INPUT, "CredentialsRejected")
    assert ended.commit is not None
    assert "the key (student model's API key) is wrong" in (ended.commit.message or "")
    assert "sk-a-very-secret-key" not in ended.commit.to_json()


TELLING = """
from swarm_worker.errors import SwarmError
from swarm_worker.pod.process import Process
from swarm_wire.records import Record, RecordKind

process = Process()
process.mask(lambda text: text.replace("wave", "(key)"))
process.note("the wave is wrong")
process.put(Record(RecordKind.TASK, {"kind": "wave", "notes": ["the wave"], "more": {"deep": ["a wave", 1, None]}}))
process.end(SwarmError("the wave is refused"))
"""


def test_all_output_of_a_process_is_redacted(tmp_path: Path) -> None:
    """The secret equals a word of the contract. Such a word stays where the contract requires it."""
    ended = run_python(TELLING, SWARM_TERMINATION_LOG=str(tmp_path / "log"))
    [record] = printed(ended.stdout)
    assert record.header == {"kind": "wave", "notes": ["the (key)"], "more": {"deep": ["a (key)", 1, None]}}
    assert "the (key) is refused" in (tmp_path / "log").read_text()
    assert "note: the (key) is wrong" in ended.stderr
    assert "wave" not in (tmp_path / "log").read_text() + ended.stderr


def test_a_pod_runs_the_slice_of_its_job_index(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path)
    pod.assign(asked, [cells(asked, "a"), cells(asked, "c b")])
    ended = pod.work(JOB_COMPLETION_INDEX="1")
    keys = [record.header["key"] for record in ended.records(RecordKind.RESULT)]
    assert sorted(keys) == sorted(task_of(asked).cells[WORDS.index(word)].key for word in "bc")


def test_a_cell_whose_digest_differs_in_the_worker_ends_the_worker(tmp_path: Path, asked: Ended) -> None:
    pod, task = prog(tmp_path), task_of(asked)
    other = task.model_copy(update={"cells": [task.cells[0].model_copy(update={"key": "0" * 32})]})
    header = other.model_dump(by_alias=True, mode="json", exclude_none=True)
    records = [*asked.records(RecordKind.BLOB), Record(RecordKind.TASK, header)]
    pod.assign(
        replace(asked, transcript=Transcript(dict(enumerate(records)))), [[SliceRef(task=task.digest, cells=[0])]]
    )
    assert pod.work().said == (ExitCode.DRIFT, "DigestDrift")


@pytest.mark.parametrize("command", ["work", "plan"])
def test_a_cell_that_blocks_all_threads_ends_its_process(tmp_path: Path, asked: Ended, command: str) -> None:
    """The process prints the cell's line but no termination message, so the operator blames the cell."""
    pod = prog(tmp_path, **{"limits": {"cellSeconds": 1}, "swarm.threadsPerPod": 1})
    words = " ".join(["a"] * 16 + ["regex"])  # the rehearsal uses the first 16 examples
    ended = worked(pod, asked, "a regex") if command == "work" else pod.plan(WORDS=words, SWARM_LOOKAHEAD="0")
    assert ended.said == (ExitCode.FAILED, "no commit"), ended.errors
    assert "in forward" in ended.errors


FORKS = """

class Own(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **given):
        raise ValueError("it was asked")

class Program(Program):
    def forward(self, question):
        fork = multiprocessing.get_context("fork").Process(target=Own("own"), args=("What is it?",))
        if question == "b":
            fork.start()
            fork.join()
        if question == "c":
            fork.start()
            time.sleep(1000)
        return dspy.Prediction(answer=question)
"""


@pytest.mark.parametrize(
    "words", ["b", "c"], ids=["the program waits for the fork", "the program does not wait for the fork"]
)
@pytest.mark.parametrize("command", ["work", "plan"])
def test_under_limits_a_fork_that_makes_an_lm_call_ends_the_process(
    tmp_path: Path, asked: Ended, command: str, words: str
) -> None:
    """The process ends whatever the program does about the error. Otherwise limits would change the result."""
    pod, limits = prog(tmp_path, PROG + FORKS), {"SWARM_ALLOWANCE": '{"calls":9}'}
    ended = (
        worked(pod, asked, words, **limits)
        if command == "work"
        else pod.plan(WORDS=" ".join(["a"] * 16 + [words]), SWARM_LOOKAHEAD="0", SWARM_TWIN="1", **limits)
    )
    assert ended.said == (ExitCode.BAD_INPUT, "InvalidSpec"), ended.errors
    assert "dspy.Parallel" in str(ended.commit)
    assert len(outcomes(ended)) < 17 if command == "plan" else not outcomes(ended)


# --- SIGTERM -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["work", "plan"])
def test_processes_that_user_code_forks_react_to_sigterm_as_in_stock(
    tmp_path: Path, asked: Ended, command: str
) -> None:
    """User code may send SIGTERM to a process that it forked. This process does not run our signal handler."""
    pod = prog(tmp_path)
    ended = worked(pod, asked, "forks") if command == "work" else pod.plan(WORDS="forks", SWARM_LOOKAHEAD="0")
    assert ended.said == (0, None), ended.errors
    assert set(outcomes(ended)) == {Outcome.OK}, ended.errors


TELLS = f"""{PROG}
import signal

stop = signal.getsignal(signal.SIGTERM)

def told(*args):
    stop(*args)
    (HERE / "told").touch()

signal.signal(signal.SIGTERM, told)
"""
"""A program that shows when the process has received SIGTERM."""


def test_after_sigterm_cells_in_flight_finish_and_no_new_cell_starts(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path, TELLS, **{"swarm.threadsPerPod": 2})
    process = started(pod, asked, "waits-1 waits-2 c d", SWARM_GRACE_SECONDS="50")
    until(process, tmp_path / "began-waits-1")
    until(process, tmp_path / "began-waits-2")
    interrupt(process)
    until(process, tmp_path / "told")
    (tmp_path / "go").touch()
    ended = pod.end(process)
    assert ended.said == (ExitCode.INTERRUPTED, None)
    assert ended.complete
    assert outcomes(ended) == [Outcome.OK, Outcome.OK]
    assert not list(tmp_path.glob("began-c"))


def test_a_worker_drops_a_cell_that_is_in_flight_at_the_end_of_its_grace_period(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path, **{"swarm.threadsPerPod": 2})
    process = started(pod, asked, "a waits-1 waits-2 c", SWARM_GRACE_SECONDS="0")
    until(process, tmp_path / "began-waits-1")
    until(process, tmp_path / "began-waits-2")
    interrupt(process)
    ended = pod.end(process)
    assert ended.said == (ExitCode.INTERRUPTED, None)
    assert ended.complete
    assert outcomes(ended) == [Outcome.OK]


def test_a_worker_waits_after_its_commit_so_that_its_log_can_be_read(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path, **{"swarm.threadsPerPod": 2})
    process = started(pod, asked, "a waits-1", SWARM_GRACE_SECONDS="0", SWARM_LINGER_SECONDS="3600")
    until(process, tmp_path / "began-waits-1")
    interrupt(process)
    until(process, tmp_path / "termination")
    assert process.poll() is None, "still there to be read"
    process.kill()
    ended = pod.end(process)
    assert outcomes(ended) == [Outcome.OK]


def test_a_plan_ends_at_once_when_it_gets_sigterm(tmp_path: Path) -> None:
    slow = PROG.replace("def train():", "def train():\n    (HERE / 'loading').touch()\n    time.sleep(3600)")
    pod = prog(tmp_path, slow)
    process = pod.start("plan", WORDS="a")
    until(process, tmp_path / "loading")
    interrupt(process)
    ended = pod.end(process)
    assert ended.said == (ExitCode.INTERRUPTED, None)
    assert ended.complete


STARTING = """
import importlib.abc, os, signal, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "swarm_worker.pod.process":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Interrupts())
from swarm_worker.__main__ import main
main(["COMMAND"])
"""


@pytest.mark.parametrize("command", ["plan", "work"])
def test_sigterm_ends_a_starting_process(tmp_path: Path, command: str) -> None:
    """The first process of a container ignores SIGTERM without a handler, and would work until it is killed."""
    ended = run_python(STARTING.replace("COMMAND", command), tmp_path, SWARM_TWIN="0")
    assert ended.returncode == ExitCode.INTERRUPTED, ended.stderr


@pytest.mark.parametrize("depot", [False, True], ids=["", "with a depot"])
def test_a_worker_whose_output_nobody_reads_stops_spending(tmp_path: Path, asked: Ended, depot: bool) -> None:
    pod = prog(tmp_path, **{"swarm.threadsPerPod": 1})
    env = {"SWARM_DEPOT": f"file://{tmp_path}/depot"} if depot else {}
    process = started(pod, asked, "a waits-1 c", **env)
    until(process, tmp_path / "began-waits-1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.wait(60) == ExitCode.FAILED
    assert not (tmp_path / "began-c").exists()


# --- a full output -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "said", "results"),
    [
        ("0", (ExitCode.DONE, None), 4),
        ("1", (ExitCode.INTERRUPTED, "OutputFull"), 1),
        ("100000", (ExitCode.DONE, None), 4),
    ],
    ids=["there is no limit", "the first record reaches the limit", "no record reaches the limit"],
)
def test_a_worker_whose_output_is_full_leaves_the_rest_to_another_worker(
    tmp_path: Path, asked: Ended, limit: str, said: tuple[int, str | None], results: int
) -> None:
    ended = worked(prog(tmp_path, **{"swarm.threadsPerPod": 1}), asked, "a b c d", SWARM_OUTPUT_BYTES=limit)
    assert ended.said == said, ended.errors
    assert ended.complete
    assert len(ended.records(RecordKind.RESULT)) == results


def test_cells_in_flight_finish_after_the_output_has_reached_its_limit(tmp_path: Path, asked: Ended) -> None:
    pod = prog(tmp_path, **{"swarm.threadsPerPod": 2})
    process = started(pod, asked, "waits-1 a b c d", SWARM_OUTPUT_BYTES="1")
    until(process, tmp_path / "began-waits-1")
    (tmp_path / "go").touch()
    ended = pod.end(process)
    assert ended.said == (ExitCode.INTERRUPTED, "OutputFull")
    assert outcomes(ended) == [Outcome.OK, Outcome.OK]


def test_a_slice_counts_as_done_if_it_is_finished_when_the_output_reaches_its_limit(
    tmp_path: Path, asked: Ended
) -> None:
    ended = worked(prog(tmp_path), asked, "a", SWARM_OUTPUT_BYTES="1")
    assert ended.said == (ExitCode.DONE, None)


# --- the command line --------------------------------------------------------------------------------------------


def test_the_worker_imports_neither_kubernetes_nor_the_local_driver(tmp_path: Path) -> None:
    code = "import sys, swarm_worker.pod.plan, swarm_worker.pod.work; print(*sorted(sys.modules))"
    loaded = run_python(code).stdout.split()
    assert not {"kopf", "kubernetes", "rich.progress", "swarm_worker.local"} & set(loaded)


def test_an_unknown_command_is_refused() -> None:
    done = run_python(
        "import runpy, sys; sys.argv[1:] = ['fly']; runpy.run_module('swarm_worker', run_name='__main__')"
    )
    assert done.returncode == 2
    assert "invalid choice: 'fly'" in done.stderr
    assert (ROOT / "worker_image" / "swarm_worker" / "__main__.py").is_file()
