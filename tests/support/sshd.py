"""A real sshd on a high port, as this user. Debian's package with it is unpacked, not installed."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.shell import free_port

CACHE = Path.home() / ".cache/dspy-swarm/sshd"
PACKAGES = ("openssh-server", "libwrap0", "libnss-wrapper")
SECONDS = 30.0


@dataclass(frozen=True)
class Sshd:
    """A running server.

    Attributes:
        known_hosts: the line of its key.
        identity: the private key that may log in.
    """

    port: int
    user: str
    known_hosts: str
    identity: str
    folder: Path

    def url(self, path: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"


def program() -> tuple[Path, dict[str, str]] | str:
    """Returns the program and its variables, or why there is none."""
    if (found := shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")) is not None:
        return Path(found), {}
    sshd = CACHE / "root/usr/sbin/sshd"
    if not sshd.exists() and (problem := _unpacked()) is not None:
        return problem
    libraries = sorted({str(path.parent) for path in (CACHE / "root").rglob("libwrap.so.*")})
    return sshd, {"LD_LIBRARY_PATH": ":".join(libraries), "LD_PRELOAD": "libnss_wrapper.so"}


def _users(folder: Path) -> dict[str, str]:
    """Returns the variables with which the preloaded library adds the user that only an installed sshd has."""
    known = Path("/etc/passwd").read_text(encoding="utf-8")
    (folder / "passwd").write_text(f"{known}\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n", encoding="utf-8")
    return {"NSS_WRAPPER_PASSWD": str(folder / "passwd"), "NSS_WRAPPER_GROUP": "/etc/group"}


def _unpacked() -> str | None:
    if shutil.which("apt-get") is None:
        return "there is no sshd, and no apt-get to get it"
    scratch = CACHE.with_name(f"sshd-{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        subprocess.run(
            ("apt-get", "download", *PACKAGES), cwd=scratch, capture_output=True, check=True, timeout=SECONDS
        )
        for package in scratch.glob("*.deb"):
            subprocess.run(("dpkg", "-x", package, scratch / "root"), capture_output=True, check=True, timeout=SECONDS)
        if not CACHE.exists():  # another process of the tests may have been faster
            scratch.rename(CACHE)
    except (OSError, subprocess.SubprocessError) as error:
        return f"Debian's package openssh-server cannot be had: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return None


def key(path: Path, passphrase: str = "") -> str:
    """Makes an ssh key. Returns the private one."""
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "tests", "-f", str(path))
    subprocess.run(command, check=True, capture_output=True)
    return path.read_text(encoding="ascii")


@contextmanager
def running(folder: Path, found: tuple[Path, dict[str, str]]) -> Iterator[Sshd]:
    """Runs sshd until the block ends. One key may log in as this user."""
    sshd, variables = found
    folder.mkdir(mode=0o700)
    key(folder / "host")
    identity = key(folder / "identity")
    shutil.copy(folder / "identity.pub", folder / "authorized_keys")
    port = free_port()
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (folder / "sshd_config").write_text(lines, encoding="ascii")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = (folder / "sshd.log").open("wb")
    command = (str(sshd), "-D", "-e", "-f", str(folder / "sshd_config"))
    with log, subprocess.Popen(command, env={**os.environ, **variables, **_users(folder)}, stderr=log) as process:
        try:
            assert _answers(port, process), (folder / "sshd.log").read_text(encoding="utf-8")
            user = subprocess.run(("id", "-un"), capture_output=True, text=True, check=True).stdout.strip()
            public = (folder / "host.pub").read_text(encoding="ascii")
            yield Sshd(port, user, f"[127.0.0.1]:{port} {public}", identity, folder)
        finally:
            process.terminate()


def _answers(port: int, process: "subprocess.Popen[bytes]") -> bool:
    for _ in range(500):
        if process.poll() is not None:
            return False
        with socket.socket() as there:
            if there.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False
