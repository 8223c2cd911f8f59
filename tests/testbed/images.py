"""Builds the project's images from wheels if something in them has changed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed import cache, debian
from testbed.clusters import Setup
from testbed.machine import Way
from testbed.shell import CommandError, run, say

PROJECT = Path(__file__).parents[2]
PYTHON_BASE = ("python3", "python3-venv", "ca-certificates")
GIT_BASE = (*PYTHON_BASE, "git", "openssh-client", "openssl")
DEBIAN_PYTHON = "3.11"
KEY_LABEL = "dspy-swarm.inputs"


@dataclass(frozen=True)
class Recipe:
    """Says what is in an image: the folder of its Dockerfile and lock file, and our own distributions.

    Attributes:
        base: Debian packages of the base image, if it is not that of the Dockerfile.
    """

    folder: Path
    distributions: tuple[Path, ...]
    base: tuple[str, ...] = PYTHON_BASE


def recipes(project: Path = PROJECT) -> dict[str, Recipe]:
    """Return the recipes of the project's images by name."""
    operator, worker, provider = project / "operator", project / "worker_image", project / "examples/provider"
    return {
        # The operator needs the contract (`swarm_wire`), which is in the worker's distribution.
        "operator": Recipe(operator, (operator, worker)),
        "worker": Recipe(worker, (worker,)),
        "git": Recipe(project / "git_image", (worker,), GIT_BASE),
        "provider": Recipe(provider, (provider,)),
    }


def tag_of(name: str, tag: str) -> str:
    """Return the full name of an image. It has no registry, since nothing pulls it."""
    return f"dspy-swarm/{name}:{tag}"


def build(setup: Setup, names: Iterable[str], tag: str, project: Path = PROJECT) -> list[str]:
    """Build the named images, or all if none is named. Return their tags."""
    known = recipes(project)
    tags = [_build(setup, name, known[name], tag) for name in names or known]
    # This removes images that lost their tag to a newer build.
    run("docker", "image", "prune", "--force", "--filter", f"label={KEY_LABEL}", env=setup.env)
    return tags


def _build(setup: Setup, name: str, recipe: Recipe, tag: str) -> str:
    full = tag_of(name, tag)
    lock, dockerfile = recipe.folder / "requirements.lock", recipe.folder / "Dockerfile"
    base = _base(setup, recipe)
    with cache.scratch() as context:
        _wheels(recipe, context / "dist")
        key = cache.key(dockerfile, lock, context / "dist", base)
        if key == _label(setup, full):
            say(f"{full} is up to date")
            return full
        say(f"building {full}")
        shutil.copy(lock, context)
        shutil.copy(dockerfile, context)
        arguments = _dependencies(setup, name, lock, context / "wheelhouse")
        if base:
            arguments += ["--build-arg", f"BASE_IMAGE={base}"]
        label = f"{KEY_LABEL}={key}"
        run("docker", "build", "--tag", full, "--label", label, *arguments, context, env=setup.env)
    return full


def _base(setup: Setup, recipe: Recipe) -> str:
    """Return the base image if it is not that of the Dockerfiles."""
    return debian.image("dspy-swarm/python-base", recipe.base) if setup.way is Way.SOURCE else ""


def _wheels(recipe: Recipe, folder: Path) -> None:
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    for distribution in recipe.distributions:
        run(*build, cwd=distribution)


def _dependencies(setup: Setup, name: str, lock: Path, folder: Path) -> list[str]:
    """Download wheels if containers cannot reach a package index. Return the build arguments for them."""
    if setup.way is not Way.SOURCE:
        folder.mkdir()
        return []
    download = ("download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet")
    python = ("--implementation", "cp", "--python-version", DEBIAN_PYTHON)

    def fetch(place: Path) -> None:
        say(f"downloading the wheels of {name}")
        run(sys.executable, "-m", "pip", *download, *python, "--dest", place, "--requirement", lock)

    shutil.copytree(cache.made("wheelhouse", (lock, DEBIAN_PYTHON), fetch), folder)
    return ["--build-arg", "PIP_NO_INDEX=1"]


def _label(setup: Setup, image: str) -> str:
    """Return the key of an image. It is empty if the image does not exist."""
    wanted = f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}'
    try:
        return run("docker", "image", "inspect", "--format", wanted, image, env=setup.env)
    except CommandError:
        return ""
