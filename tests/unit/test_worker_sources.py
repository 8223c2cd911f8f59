"""A program of several files is packed into an archive, and processes unpack it. Bad files and archives are refused."""

import base64
import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

from support.worker import importable, spec_of
from support.worlds import IMAGE, KEY, RUN_ID, assignment, plan_order, planned, run, work_order
from swarm_operator.compilation.apply import config_maps
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.model.world import Run
from swarm_wire import names
from swarm_wire.messages import RunRequest
from swarm_wire.snapshots import MOST_BYTES
from swarm_wire.spec.data import DataSource
from swarm_wire.spec.program import KeyToPath, ProgramSource, ProgramState
from swarm_worker.__main__ import main
from swarm_worker.errors import BadInput
from swarm_worker.local import pack
from swarm_worker.user import sources
from swarm_worker.user.binding import origin
from swarm_worker.user.data import FILES as DATA_FILES
from swarm_worker.user.data import Data, load_data
from swarm_worker.user.entrypoint import add_sources
from swarm_worker.user.program import load_program
from swarm_worker.user.sources import laid_out, program_folder

PROGRAM = "import dspy\nfrom app.inner.words import ASK\nclass Ask(dspy.Module):\n    def __init__(self):\n" + (
    "        super().__init__()\n        self.ask = dspy.Predict(ASK)\n"
)
FILES = {
    "app/__init__.py": "",
    "app/ask.py": PROGRAM,
    "app/inner/words.py": 'ASK = "question -> answer"\n',
    "data/train.jsonl": '{"question": "q", "answer": "a"}\n',
}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def tar(*members: tuple[str, bytes | str]) -> bytes:
    """Returns an archive. A member with bytes is a file, and a member with text is an entry of this type."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                member.type, member.linkname = content.encode(), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return gzip.compress(whole.getvalue())


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return whole.getvalue()


@pytest.fixture(autouse=True)
def unpacked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_UNPACKED_DIR", str(tmp_path / "unpacked"))


# --- packing -----------------------------------------------------------------------------------------------------


def test_pack_leaves_out_files_that_are_no_part_of_a_program(tmp_path: Path) -> None:
    more = {
        ".git/config": "", ".env": "KEY=sk-1", "app/.secret": "", "app/__pycache__/ask.pyc": "", "app/old.pyc": "",
        "venv/pyvenv.cfg": "", "venv/lib/site.py": "", "compilation.yaml": "apiVersion: a\nkind: DSPyCompilation\n",
        "source.yaml": "", "kustomization.yaml": "resources: [source.yaml]\n", "app/settings.yaml": "kind: small\n",
        "app/key.pem": "-----BEGIN RSA PRIVATE KEY-----\n",
    }  # fmt: skip
    told: list[str] = []
    found = dict(pack.collected(write(tmp_path, FILES | more), told.append))
    assert told == [
        ".git", "venv", ".env", "compilation.yaml", "kustomization.yaml", "source.yaml", "app/.secret", "app/key.pem",
    ], "but for what Python compiled"  # fmt: skip
    assert found == {path: text.encode() for path, text in (FILES | {"app/settings.yaml": "kind: small\n"}).items()}


def test_pack_makes_equal_bytes_from_equal_files(tmp_path: Path) -> None:
    one, two = (dict(pack.collected(write(tmp_path / name, FILES))) for name in ("one", "two"))
    assert pack.packed(one) == pack.packed(dict(reversed(two.items())))


@pytest.mark.parametrize(
    ("files", "name", "says"),
    [
        ({}, "code", "has no files to pack"),
        ({"a.py": ""}, "My code", "--name must be a name of Kubernetes"),
    ],
)
def test_pack_refuses_an_empty_folder_and_an_invalid_name(
    tmp_path: Path, files: dict[str, str], name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(write(tmp_path, files)), "--name", name]) == 1
    told = capsys.readouterr()
    assert (told.out, says in told.err) == ("", True)


def test_pack_refuses_files_that_could_not_be_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    pack.manifest("code", dict.fromkeys("abc", b""), tmp_path)
    for content, says in (
        (dict.fromkeys("abcd", b""), "holds more than 3 files"),
        ({"zeros": bytes(65 * 2**20)}, "holds more than 64 MiB"),
        ({"a\\b.py": b""}, "no path within a folder"),
    ):
        with pytest.raises(BadInput, match=says):
            pack.manifest("code", content, tmp_path)


def test_the_message_about_a_folder_that_is_too_large_names_its_largest_files(tmp_path: Path) -> None:
    noise = {"b.bin": bytes(range(256)), "a.py": b"x"}
    noise["large.bin"] = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(40_000))
    with pytest.raises(BadInput, match=r"holds 1,048,576\. The largest files: large\.bin \(1,280,000 bytes\), b\.bin"):
        pack.manifest("code", noise, tmp_path)


def test_the_message_about_a_refused_link_names_it(tmp_path: Path) -> None:
    (write(tmp_path, FILES) / "app" / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match=r"link\.py is a link"):
        dict(pack.collected(tmp_path))


# --- unpacking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "items", "paths"),
    [
        ({"a.py": b"1", "b.txt": b"2"}, None, {"a.py": b"1", "b.txt": b"2"}),
        ({"a.py": b"1", "b.py": b"2"}, {"b.py": "app/inner/b.py"}, {"app/inner/b.py": b"2"}),
        ({"s.tar.gz": tar(("./app", tarfile.DIRTYPE.decode()), ("./app/a.py", b"1")), "b.py": b"2"}, None,
         {"app/a.py": b"1", "b.py": b"2"}),
        ({"s.zip": zipped(("app/", b""), ("app/a.py", b"1"))}, None, {"app/a.py": b"1"}),
        ({"s.tgz": tar(("a.py", b"1"))}, {"s.tgz": "vendor/s.tgz"}, {"vendor/a.py": b"1"}),
    ],
)  # fmt: skip
def test_keys_of_a_config_map_become_files(
    content: dict[str, bytes], items: dict[str, str] | None, paths: dict[str, bytes]
) -> None:
    given = None if items is None else [KeyToPath(key=key, path=path) for key, path in items.items()]
    assert laid_out(content, given, "code") == paths


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"s.tar.gz": tar(("/etc/a.py", b""))}, "'/etc/a.py', which is no path within a folder"),
        ({"s.tar.gz": tar(("a/../../b.py", b""))}, "'a/../../b.py', which is no path within a folder"),
        ({"s.zip": zipped(("..\\b.py", b""))}, "which is no path within a folder"),
        ({"s.zip": zipped(("../b.py", b""))}, "'../b.py', which is no path within a folder"),
        ({"s.tar.gz": tar(("..data/b.py", b""))}, "which is no path within a folder"),
        ({"s.tar.gz": tar(("a\nb.py", b""))}, "which is no path within a folder"),
        ({"s.tar.gz": tar(("link", tarfile.SYMTYPE.decode()))}, "'link', which is neither a file nor a folder"),
        ({"s.tar.gz": tar(("hard", tarfile.LNKTYPE.decode()))}, "'hard', which is neither a file nor a folder"),
        ({"s.tar.gz": tar(("fifo", tarfile.FIFOTYPE.decode()))}, "'fifo', which is neither a file nor a folder"),
        ({"s.zip": zipped(("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)}, "'link', which is neither a file"),
        ({"s.tar.gz": tar(("a.py", b"1")), "a.py": b"2"}, "holds a.py, which another key holds, too"),
        ({"s.tar.gz": tar(("a.py", b"1"), ("a.py", b"2"))}, "holds a.py, which another key holds, too"),
        ({"s.tar.gz": b"no archive"}, "cannot be unpacked"),
        ({"s.zip": b"no archive"}, "cannot be unpacked"),
        ({"s.tar.gz": tar(("a.py", b"x" * 5000))[:-40]}, "cannot be unpacked"),
        ({"s.tar.gz": tar(("zeros", bytes(9_000)))}, "holds more than 0 MiB"),
        ({"s.zip": zipped(("zeros", bytes(9_000)))}, "holds more than 0 MiB"),
        ({"s.zip": zipped(*((f"{n}.py", b"") for n in range(4)))}, "holds more than 3 files"),
    ],
)  # fmt: skip
def test_unsafe_archives_are_not_unpacked(
    content: dict[str, bytes], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 15_000 if "zeros" not in str(content) else 8_000)
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    with pytest.raises(BadInput) as error:
        laid_out(content, None, "code")
    assert says in str(error.value)
    assert error.value.reason == "ProgramLoadFailed"


def test_the_message_about_a_missing_key_names_the_existing_keys() -> None:
    with pytest.raises(BadInput, match=r"the ConfigMap code has no key 'b\.py'. It has: a\.py\."):
        laid_out({"a.py": b""}, [KeyToPath(key="b.py", path="b.py")], "code")


# --- from a folder to a pod --------------------------------------------------------------------------------------


def volumes(pod: Mapping[str, Any], config_maps: Sequence[Mapping[str, Any]], root: Path) -> Path:
    """Lays out the ConfigMaps of a pod as the kubelet does. A folder stands for the pod's root."""
    by_name = {found["metadata"]["name"]: found for found in config_maps}
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    for volume in pod["volumes"]:
        found = by_name.get(volume.get("configMap", {}).get("name"))
        if found is None:
            continue
        assert mounts[volume["name"]]["readOnly"]
        assert "items" not in volume["configMap"], "all keys are there"
        folder = root / mounts[volume["name"]]["mountPath"].lstrip("/")
        (folder / "..2026_11_30").mkdir(parents=True)
        (folder / "..data").symlink_to("..2026_11_30")
        texts = {key: text.encode() for key, text in found.get("data", {}).items()}
        for key, data in (texts | {k: base64.b64decode(v) for k, v in found.get("binaryData", {}).items()}).items():
            (folder / "..data" / key).write_bytes(data)
            (folder / key).symlink_to(f"..data/{key}")
    return root


def plan_pod(ours: Run) -> Any:
    return job(plan_order(ours))["spec"]["template"]["spec"]


def work_pod(ours: Run) -> Any:
    made = job(work_order(ours, assignment(0, 1, [0]).assignment, *planned(0)))
    return made["spec"]["template"]["spec"]


@pytest.mark.parametrize("pod_of", [plan_pod, work_pod])
def test_a_pod_imports_a_packed_folder_and_reads_its_data(
    pod_of: Callable[[Run], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(write(tmp_path / "mine", FILES)), "--name", "code"]) == 0
    packed = yaml.safe_load(capsys.readouterr().out)
    given = spec_of(
        "app.ask",
        **{
            "program": {"entrypoint": "app.ask:Ask", "source": {"configMap": {"name": "code"}}},
            "data": {"inputs": ["question"], "train": {"path": "data/train.jsonl"}},
        },
    )
    ours = Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)
    pod = pod_of(ours)
    root = volumes(pod, [packed, config_maps.run_map(KEY, ours.request)], tmp_path / "root")

    request = (root / str(names.RUN_DIR).lstrip("/") / names.REQUEST_FILE).read_text(encoding="utf-8")
    spec, sources = RunRequest.model_validate_json(request).spec, root / str(names.SOURCES_DIR).lstrip("/")
    with importable(tmp_path), importable(sources):
        add_sources(spec, sources)
        assert isinstance(load_program(spec), dspy.Module)
        assert load_data(spec, sources).train[0].answer == "a"


@pytest.mark.parametrize("pod_of", [plan_pod, work_pod])
def test_a_pod_may_write_where_archives_are_unpacked(pod_of: Callable[[Run], Any]) -> None:
    pod = pod_of(run())
    written = [mount for mount in pod["containers"][0]["volumeMounts"] if not mount.get("readOnly")]
    [volume] = [
        volume["emptyDir"]
        for mount in written
        for volume in pod["volumes"]
        if mount["name"] == volume["name"] and names.UNPACKED_DIR.is_relative_to(mount["mountPath"])
    ]
    assert volume["sizeLimit"] == "1Gi"
    assert MOST_BYTES < 2**30


def test_without_a_source_a_relative_path_of_data_starts_at_the_folder_of_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)
    spec = spec_of("app", data={"inputs": ["question"], "train": {"path": "data/train.jsonl"}})
    monkeypatch.setenv("SWARM_BASE_DIR", str(tmp_path))
    assert len(load_data(spec, tmp_path / "sources").train) == 1


@pytest.mark.usefixtures("only_modules_of_the_test")
def test_a_journal_is_bound_to_the_files_but_not_to_their_kind_of_source(tmp_path: Path) -> None:
    spec = spec_of("app", **{"program.source": {"configMap": {"name": "code"}}})
    files = [(path, text.encode()) for path, text in FILES.items()]

    def bound(key: str, archive: bytes) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "code").mkdir(parents=True)
        (folder / "code" / key).write_bytes(archive)
        return origin(RunRequest(run_id=RUN_ID, name="n", spec=spec), folder, Data([], None, []), "image").program

    same = {bound("a.tar.gz", tar(*files)), bound("b.zip", zipped(*files)), bound("a.tar.gz", pack.packed(dict(files)))}
    assert len(same) == 1
    assert bound("a.tar.gz", tar(*files, ("more.txt", b""))) not in same


def test_several_processes_unpack_the_same_files_once(tmp_path: Path) -> None:
    spec = spec_of("app", **{"program.source": {"configMap": {"name": "code"}}})
    (tmp_path / "sources" / "code").mkdir(parents=True)
    (tmp_path / "sources" / "code" / "s.zip").write_bytes(zipped(("a.py", b"1")))
    found = [program_folder(spec, tmp_path / "sources") for _ in range(2)]
    assert found[0] == found[1]
    assert list((tmp_path / "unpacked").iterdir()) == [found[0]]


@pytest.mark.parametrize(
    ("members", "rows"),
    [
        (ProgramSource.members, sources.FOLDERS),
        ((*DataSource.members, *ProgramState.members), {**DATA_FILES, "url": None, "entrypoint": None}),
    ],
    ids=["program.source", "data and program.state"],
)
def test_a_worker_can_read_each_kind_of_source(members: tuple[str, ...], rows: Mapping[str, object]) -> None:
    assert set(members) == set(rows)
