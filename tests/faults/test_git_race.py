"""Two publishers race on one branch, while pods are killed and output is lost: no commit is lost or made twice."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.git_pods import PodFolder, artifact, request
from support.git_server import Authority, GitServer, Repository, https
from swarm_wire.names import ExitCode
from swarm_wire.records import RecordKind

RUNS = 50 if os.environ.get("FAULTS") == "all" else 6
"""How many runs each publisher has. A run takes about three seconds."""
KILLED, UNREAD = 0.5, 0.25
"""Shares of the pods that are killed at a random moment, and of those whose output nobody reads."""


class Publisher:
    """Publishes one run after the other, as the operator does: it starts pods until one says where the commit is."""

    def __init__(self, number: int, folder: Path, server: GitServer, secret: dict[str, str]) -> None:
        self._number, self._folder, self._server, self._secret = number, folder, server, secret
        self._chance = random.Random(number)
        self.pods = 0
        self.told: dict[str, str] = {}

    def run_all(self) -> None:
        for number in range(RUNS):
            self._run(f"{self._number}{number:09d}")

    def _run(self, run: str) -> None:
        destination = {
            "url": self._server.url(),
            "branch": "main",
            "path": f"prompts/{self._number}",
            "secret": {"name": "git"},
        }
        while run not in self.told:
            self.pods += 1
            folder = PodFolder.made(self._folder / f"{run}-{self.pods}", request(None, destination, run), self._secret)
            artifact(folder.root / "artifact", program={"run": run})
            process = folder.started("publish")
            if self._chance.random() < KILLED:
                time.sleep(self._chance.uniform(0.1, 1.2))
                process.send_signal(signal.SIGKILL)
                process.communicate()
                continue
            pod = folder.ended(process)
            if pod.code == ExitCode.DONE and self._chance.random() > UNREAD:
                (record,) = pod.records
                assert record.kind is RecordKind.PUSHED
                self.told[run] = record.header["commit"]


@pytest.fixture
def server(tmp_path: Path) -> Any:
    (tmp_path / "authority").mkdir()
    with https(tmp_path / "server", Authority.made(tmp_path / "authority")) as found:
        yield found


@pytest.mark.some
@pytest.mark.fault("publish pods killed while two publishers race")
def test_a_race_of_two_publishers_whose_pods_are_killed_loses_no_commit_and_makes_none_twice(
    server: GitServer, tmp_path: Path
) -> None:
    repository: Repository = server.repository()
    repository.git("config", "receive.denyNonFastForwards", "true")
    first = repository.commit({"README.md": b"first"})
    seen, over = [first], threading.Event()
    secret = {"ca.crt": (tmp_path / "authority" / "ca.crt").read_text()}
    publishers = [Publisher(number, tmp_path / str(number), server, secret) for number in range(2)]

    def watch() -> None:
        while not over.wait(0.05):
            if (tip := repository.tip()) and tip != seen[-1]:
                seen.append(tip)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Publisher.run_all, publishers))
    over.set()
    watcher.join()
    history = repository.git("rev-list", "main").split()
    runs = repository.git("log", "--format=%(trailers:key=Run-Id,valueonly,separator=)", "main").split()
    told = {run: commit for publisher in publishers for run, commit in publisher.told.items()}
    print(f"{len(runs)} commits by {sum(publisher.pods for publisher in publishers)} pods")
    assert sorted(runs) == sorted(told)
    assert set(told.values()) | set(seen) <= set(history), "nobody has forced a push"
    assert len(history) == 1 + 2 * RUNS
