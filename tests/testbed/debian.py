"""Makes base images from Debian packages of the mirror that this machine uses."""

from __future__ import annotations

from collections.abc import Sequence

from testbed import cache, engine
from testbed.shell import run, say

SUITE = "bookworm"
_UNREAD = ("doc", "info", "locale", "man")


def image(name: str, packages: Sequence[str]) -> str:
    """Build an image with these packages and their dependencies unless it exists. Return its tag."""
    tag = f"{name}:{SUITE}-{cache.key(SUITE, *packages)}"
    if not engine.has_image(tag):
        say(f"unpacking Debian {SUITE} with {', '.join(packages[:3])}{', ...' if packages[3:] else ''}")
        with cache.scratch() as folder:
            excluded = [f"--dpkgopt=path-exclude=/usr/share/{unread}/*" for unread in _UNREAD]
            include = f"--include={','.join(packages)}"
            run("mmdebstrap", "--variant=minbase", include, *excluded, SUITE, folder / "root.tar", *mirror())
            engine.docker("import", folder / "root.tar", tag)
    return tag


def mirror() -> list[str]:
    """Return the Debian mirror in this machine's apt sources, or nothing, so that mmdebstrap chooses a mirror."""
    form = "$(ORIGIN) $(CODENAME) $(REPO_URI)"
    return chosen_mirror(run("apt-get", "indextargets", "--format", form, "Created-By: Packages"))


def chosen_mirror(targets: str) -> list[str]:
    """Return the first main Debian archive among lines of origin, suite and address, if there is one."""
    for line in targets.splitlines():
        origin, _, rest = line.partition(" ")
        suite, _, address = rest.partition(" ")
        if origin == "Debian" and "-" not in suite:
            return [address.rstrip("/")]
    return []
