"""The testbed decides how it makes a cluster, what it rebuilds and what it cleans up. These tests start no program."""

import importlib.util
import io
import json
import tarfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from testbed import cache, clusters, debian, engine, images, loading, machine, tools
from testbed.machine import Facts, NoWayError, Way


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSPY_SWARM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


DOCKER = Facts(docker=True, node_image=True)
BARE_DEBIAN = Facts(root=True, apt=True, go=True)


@pytest.mark.parametrize(
    ("facts", "way"),
    [
        pytest.param(DOCKER, Way.KIND, id="a machine with Docker and the node image uses kind"),
        pytest.param(BARE_DEBIAN, Way.SOURCE, id="a machine with root, apt and Go builds everything"),
        pytest.param(
            Facts(docker=True, root=True, apt=True, go=True),
            Way.SOURCE,
            id="a machine with Docker but without the node image uses our own engine",
        ),
        pytest.param(
            Facts(docker=True, node_image=True, root=True, apt=True, go=True),
            Way.KIND,
            id="a machine with everything uses the user's Docker",
        ),
        pytest.param(Facts(context="staging"), Way.CONTEXT, id="a context needs nothing else"),
        pytest.param(
            Facts(context="staging", docker=True, node_image=True),
            Way.CONTEXT,
            id="a context comes before Docker",
        ),
    ],
)
def test_the_tools_of_the_machine_determine_how_a_cluster_is_made(facts: Facts, way: Way) -> None:
    assert machine.choose(facts) is way


@pytest.mark.parametrize(
    ("facts", "missing", "told"),
    [
        (Facts(context="staging"), ["docker.io"], "use the cluster of the context staging"),
        (DOCKER, ["docker.io"], "make a kind cluster in this machine's Docker, with the node image kindest/node:"),
        (
            BARE_DEBIAN,
            ["docker.io", "mmdebstrap"],
            "install docker.io, mmdebstrap with apt-get, and make a kind cluster",
        ),
        (BARE_DEBIAN, [], "The tests of a cluster make a kind cluster in a Docker engine of their own"),
    ],
)
def test_the_announcement_names_the_packages_to_install_and_alternatives_to_them(
    facts: Facts, missing: list[str], told: str
) -> None:
    said = machine.announcement(facts, missing)
    assert told in said
    assert "DSPY_SWARM_CONTEXT" in said
    assert "CLUSTER=none" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        pytest.param(Facts(), "install Docker and start it", id="the machine has nothing"),
        pytest.param(Facts(), "DSPY_SWARM_CONTEXT", id="another cluster is always advised"),
        pytest.param(Facts(root=True, apt=True), "missing for that: Go", id="only Go is missing"),
        pytest.param(Facts(apt=True, go=True), "missing for that: run as root", id="only root is missing"),
        pytest.param(Facts(root=True, go=True), "missing for that: a Debian-like system", id="not Debian"),
        pytest.param(Facts(docker=True), "docker pull kindest/node:", id="Docker without the node image"),
    ],
)
def test_an_error_names_what_to_install_if_no_cluster_can_be_made(facts: Facts, advice: str) -> None:
    with pytest.raises(NoWayError, match="Any one of these") as error:
        machine.choose(facts)
    assert advice in str(error.value)


def test_every_way_to_get_a_cluster_is_explained_in_one_line() -> None:
    assert all(way.value and "\n" not in way.value for way in Way)


def test_the_testbed_does_not_mistake_its_own_docker_engine_for_that_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "succeeds", lambda *command: True)
    assert machine.look().docker
    monkeypatch.setenv("DOCKER_HOST", engine.env()["DOCKER_HOST"])
    assert not machine.look().docker


class TestCache:
    def test_the_cache_key_of_a_build_depends_on_contents_and_names_of_files_but_not_on_their_locations(
        self, tmp_path: Path
    ) -> None:
        def folder(place: str, name: str, text: str) -> Path:
            (tmp_path / place).mkdir()
            (tmp_path / place / name).write_text(text)
            return tmp_path / place

        key = cache.key(folder("here", "main.go", "package main"))
        assert key == cache.key(folder("there", "main.go", "package main"))
        assert key != cache.key(folder("changed", "main.go", "package other"))
        assert key != cache.key(folder("renamed", "other.go", "package main"))

    def test_the_cache_key_of_a_build_depends_on_where_one_input_ends_and_the_next_begins(self) -> None:
        assert cache.key("ab", "c") != cache.key("a", "bc")

    def test_a_build_with_the_same_inputs_is_made_once(self) -> None:
        made = [cache.made("thing", ("v1",), lambda folder: (folder / "it").touch()) for _ in range(2)]
        assert made[0] == made[1]
        assert (made[0] / "it").exists()
        assert cache.made("thing", ("v2",), lambda folder: None) != made[0]

    def test_an_interrupted_build_leaves_nothing(self, cache_root: Path) -> None:
        def interrupted(folder: Path) -> None:
            (folder / "half").touch()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.made("thing", ("v1",), interrupted)
        assert not list(cache_root.iterdir())


def test_kubernetes_is_rebuilt_only_when_its_sources_change(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(tools, "run", lambda *command, **_: built.append(command[-1]))
    assert tools.program("kubectl").parent == tools.program("kubeadm").parent == tools.program("kube").parent
    assert built == ["./kube"]
    monkeypatch.setattr(tools, "KUBERNETES", "v1.35.5")
    tools.program("kubectl")
    assert built == ["./kube", "./kube"]


def test_the_bounding_set_of_a_process_says_which_capabilities_a_machine_has() -> None:
    status = "CapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n"
    assert not engine.has_capability(status, engine.CAP_SYS_RESOURCE)
    assert engine.has_capability(status, 23)


def test_the_removal_of_our_docker_engine_deletes_its_own_firewall_rules_and_no_others() -> None:
    rules = """\
-P FORWARD DROP
-N DOCKER
-N DOCKER-USER
-A INPUT -p tcp -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j ACCEPT
-A DOCKER-USER -j RETURN
"""
    assert [" ".join(words) for words in engine.leftovers(rules)] == [
        "-D FORWARD -j DOCKER-USER",
        "-D FORWARD -o docker0 -j ACCEPT",
        "-F DOCKER",
        "-F DOCKER-USER",
        "-X DOCKER",
        "-X DOCKER-USER",
    ]


@pytest.mark.parametrize(
    ("targets", "mirror"),
    [
        pytest.param("Debian bookworm http://mirror/debian/", ["http://mirror/debian"], id="the machine's own"),
        pytest.param(
            "Node nodistro http://other/\nDebian bookworm-security http://sec/\nDebian trixie http://mirror/",
            ["http://mirror"],
            id="neither a foreign archive nor the security archive",
        ),
        pytest.param("Ubuntu noble http://ubuntu/", [], id="not a Debian machine"),
        pytest.param("", [], id="apt names no archive"),
    ],
)
def test_images_are_built_from_the_debian_mirror_of_the_machine(targets: str, mirror: list[str]) -> None:
    assert debian.chosen_mirror(targets) == mirror


def test_a_cluster_has_one_node_as_control_plane_and_otherwise_workers() -> None:
    assert clusters.configuration(3).count("role: control-plane") == 1
    assert clusters.configuration(3).count("role: worker") == 2
    assert "worker" not in clusters.configuration(1)


def test_every_file_that_a_recipe_of_an_image_names_exists() -> None:
    for recipe in images.recipes().values():
        assert (recipe.folder / "Dockerfile").is_file()
        assert all((folder / "pyproject.toml").is_file() for folder in recipe.distributions)


def _saved(path: Path, layers: dict[str, bytes]) -> bytes:
    """Writes an archive as `docker save` does, and returns the image's configuration."""
    config = json.dumps({"rootfs": {"diff_ids": list(layers)}}).encode()
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["a/b:c"], "Layers": names}]
    files = dict(zip(names, layers.values(), strict=True))
    files |= {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return config


def test_an_image_archive_holds_only_layers_that_the_node_lacks_but_its_manifest_names_all_layers(
    tmp_path: Path,
) -> None:
    config = _saved(tmp_path / "saved.tar", {"sha256:base": b"much", "sha256:code": b"little"})
    loading.repack(tmp_path / "saved.tar", tmp_path / "thin.tar", "docker.io/a/b:c", {"sha256:base"})
    with tarfile.open(tmp_path / "thin.tar") as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file
            return file.read()

        def blob(digest: str) -> bytes:
            return read(f"blobs/{digest.replace(':', '/')}")

        names = archive.getnames()
        [reference] = json.loads(read("index.json"))["manifests"]
        manifest = json.loads(blob(reference["digest"]))
        assert blob(manifest["config"]["digest"]) == config
        assert blob("sha256:code") == b"little"
    assert "blobs/sha256/base" not in names
    assert reference["annotations"] == {"io.containerd.image.name": "docker.io/a/b:c"}
    assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [
        ("sha256:base", 4),
        ("sha256:code", 6),
    ]


@pytest.fixture
def wrapper() -> ModuleType:
    loader = SourceFileLoader("runc_wrapper", str(engine.WRAPPER))
    spec = importlib.util.spec_from_loader("runc_wrapper", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class TestRuncWrapper:
    @pytest.mark.parametrize(
        ("arguments", "file"),
        [
            pytest.param("--root /r create --bundle /b id", Path("/b/config.json"), id="a container's bundle"),
            pytest.param("exec --process /p.json id", Path("/p.json"), id="a further process"),
            pytest.param("run -b /b id", Path("/b/config.json"), id="short option"),
            pytest.param("delete --force id", None, id="nothing to grant"),
        ],
    )
    def test_the_wrapper_of_runc_finds_the_file_that_requests_capabilities(
        self, wrapper: ModuleType, arguments: str, file: Path | None
    ) -> None:
        assert wrapper.specification(arguments.split()) == file

    def test_the_wrapper_of_runc_removes_only_the_request_for_the_missing_capability(self, wrapper: ModuleType) -> None:
        process = {"args": ["sh"], "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"]}}
        bundle = {"ociVersion": "1", "process": process}
        cured = {"args": ["sh"], "capabilities": {"bounding": ["CAP_CHOWN"]}}
        assert wrapper.without_lacking(bundle) == {"ociVersion": "1", "process": cured}
        assert wrapper.without_lacking({"args": ["sh"]}) == {"args": ["sh"]}
