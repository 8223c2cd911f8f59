"""A Docker engine of our own, for machines that have none: started when needed, removed without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from testbed import cache
from testbed.shell import CommandError, run, say, succeeds

PACKAGES = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap", "iptables": "iptables"}
WRAPPER = Path(__file__).parent / "node_image" / "runc-without-sys-resource"
CLIENT = Path("/usr/bin/docker")
CAP_SYS_RESOURCE = 24
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def home() -> Path:
    """The folder of the engine: its socket, its log and all its data."""
    return cache.root() / "engine"


def env() -> dict[str, str]:
    """The variables with which a Docker client finds our engine and builds as by default elsewhere."""
    return {"DOCKER_HOST": f"unix://{home()}/docker.sock", "DOCKER_BUILDKIT": "1"}


def docker(*arguments: str | Path) -> str:
    """Run the Docker client against our engine."""
    return run(CLIENT, *arguments, env=env())


def has_image(tag: str) -> bool:
    """Whether our engine has an image of this name."""
    return succeeds(CLIENT, "image", "inspect", tag, env=env())


def missing_packages() -> list[str]:
    """The Debian packages that `install` installs."""
    return sorted(package for program, package in PACKAGES.items() if not shutil.which(program))


def install() -> None:
    """Install the Debian packages that are missing."""
    if missing := missing_packages():
        say(f"apt-get install {' '.join(missing)}")
        # RUNLEVEL=1 keeps the package's own service from starting: the engine here is ours alone.
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "-y", "--no-install-recommends", *missing, env=quiet)


def start() -> None:
    """Start the engine unless it answers already; it outlives this process."""
    if succeeds(CLIENT, "version", env=env()):
        return
    say(f"starting dockerd in {home()}")
    home().mkdir(parents=True, exist_ok=True)
    _remember_forwarding()
    if _pid() is None:
        # A killed engine may stay a zombie for a while, and a zombie's pid file keeps dockerd from starting.
        for stale in ("dockerd.pid", "run/containerd/containerd.pid"):
            (home() / stale).unlink(missing_ok=True)
    log = home() / "dockerd.log"
    with log.open("ab") as output:
        # A grandchild: a Popen of our own would warn, when it is collected, that its process still runs.
        command = ["setsid", "--fork", *_command()]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
    deadline = time.monotonic() + 60
    while not succeeds(CLIENT, "version", env=env()):
        if time.monotonic() > deadline:
            raise CommandError(f"dockerd does not answer:\n{log.read_text()[-3000:]}")
        time.sleep(0.3)


def _command() -> list[str]:
    command = [
        "dockerd",
        *("--host", env()["DOCKER_HOST"]),
        *("--data-root", str(home() / "data")),
        *("--exec-root", str(home() / "run")),
        *("--pidfile", str(home() / "dockerd.pid")),
    ]
    if not has_capability(Path("/proc/self/status").read_text(), CAP_SYS_RESOURCE):
        wrapper = home() / WRAPPER.name
        shutil.copy(WRAPPER, wrapper)
        command += ["--add-runtime", f"wrapped={wrapper}", "--default-runtime", "wrapped"]
    return command


def _remember_forwarding() -> None:
    # An engine that turns on forwarding itself also makes the firewall drop packets that it did not route.
    note = home() / "ip_forward"
    if not note.exists():
        note.write_text(IP_FORWARD.read_text())
    IP_FORWARD.write_text("1\n")


def remove() -> None:
    """End the engine and remove what it made: containers, networks, firewall chains, data."""
    if not home().exists():
        return
    # Only a running engine can end the containers of a killed engine.
    with suppress(CommandError):
        start()
    _stop()
    say("removing the engine's bridge, firewall chains and data")
    if succeeds("ip", "link", "show", "docker0"):
        run("ip", "link", "delete", "docker0")
    for iptables in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            for undo in leftovers(run(iptables, "-t", table, "-S")):
                run(iptables, "-t", table, *undo)
    IP_FORWARD.write_text((home() / "ip_forward").read_text())
    for mount in reversed(Path("/proc/mounts").read_text().splitlines()):
        place = mount.split()[1]
        if place.startswith(f"{home()}/"):
            run("umount", place)
    for cgroup in Path("/sys/fs/cgroup").glob("*/docker"):
        _remove_empty(cgroup)
    shutil.rmtree(home())


def _remove_empty(cgroup: Path) -> None:
    for below in cgroup.iterdir():
        if below.is_dir():
            _remove_empty(below)
    with suppress(OSError):
        cgroup.rmdir()


def _stop() -> None:
    pid = _pid()
    if pid is None:
        return
    say("stopping the engine")
    containers = docker("ps", "--all", "--quiet").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    docker("network", "prune", "--force")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while _pid() is not None:
        if time.monotonic() > deadline:
            raise CommandError(f"dockerd (process {pid}) does not end")
        time.sleep(0.2)


def _pid() -> int | None:
    """The engine's process, if it runs: a pid file can outlive its process, and its number can be reused."""
    try:
        pid = int((home() / "dockerd.pid").read_text())
        mine = str(home() / "data").encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if mine else None


def leftovers(rules: str) -> list[list[str]]:
    """The iptables arguments that remove an engine's leftovers in a table, from the output of `iptables -S`.

    Jumps first, then the contents of its chains, then the chains: iptables deletes no chain that is in use.
    """
    lines = [line.split() for line in rules.splitlines()]
    chains = [words[1] for words in lines if words[0] == "-N" and words[1].startswith("DOCKER")]
    jumps = [
        ["-D", *words[1:]]
        for words in lines
        if words[0] == "-A" and words[1] not in chains and ({*chains, "docker0"} & {*words})
    ]
    return jumps + [["-F", chain] for chain in chains] + [["-X", chain] for chain in chains]


def has_capability(status: str, number: int) -> bool:
    """Whether the process with this `/proc/<pid>/status` can ever have the capability of this number."""
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> number & 1)
