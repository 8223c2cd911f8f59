"""Kills processes of a local run: its driver, its plan or its workers."""

import os
import random
import signal
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

from support.compiles import Case, LocalRun, start_local


def processes(command: str, folder: Path) -> list[int]:
    """Returns the ids of a run's `plan` or `work` processes. Their standard error is a log of the run's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                log = (entry / "fd" / "2").readlink()
            except OSError:
                continue
            if log.parent == folder / "journal" / "logs" and log.name.startswith(command):
                found.append(int(entry.name))
    return found


def kill_one(command: str, driver: Popen[str], folder: Path, number: int) -> None:
    """Waits until the run has a process of this command, and sends it the signal."""
    while not (found := processes(command, folder)):
        assert driver.poll() is None, "the run ended before there was anything to kill"
        time.sleep(0.01)
    os.kill(random.choice(found), number)


def wait_for_requests(provider: Any, count: int) -> None:
    while provider.stats()["requests"] < count:
        time.sleep(0.02)


def disturbed(case: Case, provider: Any, folder: Path, *, kills: int, seed: int) -> tuple[LocalRun, int]:
    """Kills and restarts a run until it ends. Returns the run and the number of kills.

    Each kill comes a moment after some more requests, so it may hit a plan, workers, or a driver that writes the
    journal. It kills the driver, or all processes of the plan or of the workers.

    Args:
        kills: the most kills. There are fewer if the run ends before.
    """
    chance, done, others = random.Random(seed), 0, 0
    manifest = case.manifest(provider.url)
    driver = start_local(manifest, folder)
    while True:
        due = provider.stats()["requests"] + chance.randint(5, 40)
        while provider.stats()["requests"] < due and driver.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.7))
        if done < kills and driver.poll() is None:
            # A driver gives up after some attempts of the same plan or cells, so plans and workers die at most twice.
            victim = chance.choice(["driver", "driver", "plan", "work"]) if others < 2 else "driver"
            number = chance.choice([signal.SIGKILL, signal.SIGTERM])
            done += 1
            others += 1
            for process in [driver.pid] if victim == "driver" else processes(victim, folder):
                _kill(process, number)
            if victim != "driver":
                continue
        output, _ = driver.communicate()
        if driver.returncode == 0:
            return LocalRun(0, output, folder / "journal"), done
        assert driver.returncode in (130, -signal.SIGKILL), output
        driver, others = start_local(manifest, folder), 0


def _kill(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
