"""Runs our own Docker engine on machines that have none, and removes it without a trace."""

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
    """Return the folder of the engine with its socket, its log and all its data."""
    return cache.root() / "engine"


def env() -> dict[str, str]:
    """Return the variables with which a Docker client uses our engine, and BuildKit, the default of newer clients."""
    return {"DOCKER_HOST": f"unix://{home()}/docker.sock", "DOCKER_BUILDKIT": "1"}


def docker(*arguments: str | Path) -> str:
    """Run the Docker client with our engine."""
    return run(CLIENT, *arguments, env=env())


def has_image(tag: str) -> bool:
    """Return whether our engine has an image with this tag."""
    return succeeds(CLIENT, "image", "inspect", tag, env=env())


def missing_packages() -> list[str]:
    """Return the Debian packages that `install` installs."""
    return sorted(package for program, package in PACKAGES.items() if not shutil.which(program))


def install() -> None:
    """Install the Debian packages that are missing."""
    if missing := missing_packages():
        say(f"apt-get install {' '.join(missing)}")
        # With RUNLEVEL=1, apt-get does not start the package's own Docker service. Only our engine should run.
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "-y", "--no-install-recommends", *missing, env=quiet)


def start() -> None:
    """Start the engine unless it already answers. The engine outlives this process."""
    if succeeds(CLIENT, "version", env=env()):
        return
    say(f"starting dockerd in {home()}")
    home().mkdir(parents=True, exist_ok=True)
    _remember_forwarding()
    if _pid() is None:
        # A killed engine may be a zombie for a while. dockerd does not start beside the pid file of a zombie.
        for stale in ("dockerd.pid", "run/containerd/containerd.pid"):
            (home() / stale).unlink(missing_ok=True)
    log = home() / "dockerd.log"
    with log.open("ab") as output:
        # The engine is a grandchild process, since Python warns of a child process that still runs at the end.
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
    # An engine that turns IP forwarding on also makes the firewall drop other packets, so we remember the old value.
    note = home() / "ip_forward"
    if not note.exists():
        note.write_text(IP_FORWARD.read_text())
    IP_FORWARD.write_text("1\n")


def remove() -> None:
    """End the engine, and remove what it made: containers, networks, firewall chains and data."""
    if not home().exists():
        return
    # After a kill, only a new engine can end the old engine's containers.
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
    """Return the engine's process id if it runs. A pid file may be old, and another process may have its number."""
    try:
        pid = int((home() / "dockerd.pid").read_text())
        mine = str(home() / "data").encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if mine else None


def leftovers(rules: str) -> list[list[str]]:
    """Return iptables arguments that remove an engine's rules from a table. `rules` is the output of `iptables -S`.

    They remove jumps first, then the rules of chains, and then the chains, since iptables deletes no chain in use.
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
    """Return whether a process with this `/proc/<pid>/status` can ever have the capability of this number."""
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> number & 1)
