"""What a trainer has written is checked, kept once, and waited for until a server has it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import openai
import pytest

from swarm_wire.messages import Pending
from swarm_wire.spec.trainer import Serving
from swarm_wire.tuned import TunedModel
from swarm_wire.tuned import Weights as Place
from swarm_worker.errors import BadInput, StorageFailed
from swarm_worker.finetuning import serving, weights
from swarm_worker.finetuning.order import Order
from swarm_worker.finetuning.weights import Manifest, Weights

KEY = "0123456789abcdef" * 2
BASE = {"name": "Qwen/Qwen3-0.6B", "revision": "a" * 40}


def written(out: Path, *files: str) -> Path:
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name, encoding="utf-8")
    return out


def made(out: Path) -> tuple[Manifest, list[str]]:
    return weights.made(out, KEY, "ft-0", BASE)


ADAPTER = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors")
WRITTEN = [
    (ADAPTER, "adapter", set(ADAPTER), []),
    (("model/config.json", "model/model.safetensors"), "model", {"model/config.json", "model/model.safetensors"}, []),
    (("model.gguf",), "model", {"model.gguf"}, []),
    ((*ADAPTER, "model.gguf"), "adapter", {*ADAPTER, "model.gguf"}, []),
    (
        (*ADAPTER, "adapter/training_args.bin", "work/step-1/model.safetensors"),
        "adapter",
        set(ADAPTER),
        ["adapter/training_args.bin"],
    ),
    ((*ADAPTER, "adapter/modeling.py"), "adapter", set(ADAPTER), ["adapter/modeling.py"]),
]


@pytest.mark.parametrize(("files", "kind", "kept", "left"), WRITTEN)
def test_only_files_that_run_no_code_are_kept(
    tmp_path: Path, files: tuple[str, ...], kind: str, kept: set[str], left: list[str]
) -> None:
    manifest, out = made(written(tmp_path, *files))
    assert (manifest.kind, set(manifest.files), out) == (kind, kept, left)


@pytest.mark.parametrize(
    "files", [(), ("adapter/adapter_config.json",), ("model/pytorch_model.bin",), ("work/model.safetensors",)], ids=str
)
def test_a_trainer_without_weights_has_failed(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="there are no weights") as caught:
        made(written(tmp_path, *files))
    assert caught.value.reason == "FineTuneFailed"
    assert ("model/pytorch_model.bin may run code" in str(caught.value)) == ("model/pytorch_model.bin" in files)


def test_a_link_to_a_file_elsewhere_is_not_kept(tmp_path: Path) -> None:
    out = written(tmp_path / "out", *ADAPTER)
    (tmp_path / "secret.json").write_text("secret", encoding="utf-8")
    (out / "adapter" / "linked.json").symlink_to(tmp_path / "secret.json")
    manifest, left = made(out)
    assert (set(manifest.files), left) == (set(ADAPTER), ["adapter/linked.json"])


def test_a_refusal_counts_whatever_else_is_there(tmp_path: Path) -> None:
    written(tmp_path, *ADAPTER).joinpath("refused").write_text("3 rows have more than 512 tokens", encoding="utf-8")
    with pytest.raises(BadInput, match="3 rows have more than 512 tokens") as caught:
        made(tmp_path)
    assert caught.value.reason == "TrainerRefused"


def test_a_link_in_place_of_the_trainers_own_words_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"tokens": 7}', encoding="utf-8")
    out = written(tmp_path / "out", *ADAPTER)
    for name in ("refused", "metrics.json"):
        (out / name).symlink_to(tmp_path / "secret")
    assert made(out)[0].metrics == {}


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"tokens": "many"}', '{"tokens": 1e300}', "[" * 100_000])
def test_metrics_of_any_form_end_no_run(tmp_path: Path, text: str) -> None:
    written(tmp_path, *ADAPTER).joinpath("metrics.json").write_text(text, encoding="utf-8")
    assert made(tmp_path)[0].metrics == {}


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_kept_weights_are_found_under_their_key(tmp_path: Path, kind: str) -> None:
    url = (tmp_path / "kept").as_uri() if kind == "file" else f"memory://{tmp_path.name}"
    storage = Weights(url)
    assert storage.find("ft-0") is None
    out = written(tmp_path / "out", *ADAPTER)
    manifest, _ = made(out)
    storage.check("ft-0")
    assert storage.put(manifest, out) == manifest
    assert Weights(url).find("ft-0") == manifest
    assert storage.find("ft-1") is None


def test_what_a_killed_pod_has_left_is_replaced(tmp_path: Path) -> None:
    storage = Weights((tmp_path / "kept").as_uri())
    left = written(tmp_path / "kept" / "ft-0", *ADAPTER, "adapter/old.safetensors", "manifest.json.new")
    (left / "manifest.json").write_text('{"key": "cut o', encoding="utf-8")
    assert storage.find("ft-0") is None, "a manifest that is cut off belongs to no complete folder"
    out = written(tmp_path / "out", *ADAPTER)
    manifest, _ = made(out)
    storage.put(manifest, out)
    found = sorted(path.relative_to(left).as_posix() for path in left.rglob("*") if path.is_file())
    assert found == [*sorted(ADAPTER), "manifest.json"]


def test_a_storage_that_fails_for_a_moment_loses_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PAUSES", (0.0, 0.0))
    storage, out = Weights((tmp_path / "kept").as_uri()), written(tmp_path / "out", *ADAPTER)
    usual, failures = storage._files.put_file, iter([OSError("timed out"), OSError("timed out")])

    def flaky(*given: Any) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        usual(*given)

    monkeypatch.setattr(storage._files, "put_file", flaky)
    manifest, _ = made(out)
    assert storage.put(manifest, out) == storage.find("ft-0") == manifest


def test_a_storage_that_nobody_can_write_to_is_found_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "PAUSES", ())
    (tmp_path / "kept").write_text("a file, where a folder is needed")
    with pytest.raises(StorageFailed, match=r"finetune.trainer.output: .* cannot be written"):
        Weights((tmp_path / "kept").as_uri()).check("ft-0")


def test_an_error_of_the_storage_hides_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PAUSES", ())
    (tmp_path / "kept").write_text("a file, where a folder is needed")
    storage = Weights((tmp_path / "kept").as_uri())
    storage._secrets = (("finetune.trainer.output.options", tmp_path.name),)
    manifest, _ = made(written(tmp_path / "out", *ADAPTER))
    with pytest.raises(StorageFailed) as caught:
        storage.put(manifest, tmp_path / "out")
    assert "finetune.trainer.output" in str(caught.value)
    assert f"/{tmp_path.name}/kept/" not in str(caught.value).partition("cannot be")[2]


def test_the_key_of_an_order_does_not_depend_on_the_server_but_on_the_trainer() -> None:
    order = Order("student", "openai/base", "", {"trainer": {"image": "a"}, "seed": 0}, b"{}")
    other = Order("student", "openai/base", "", {"trainer": {"image": "b"}, "seed": 0}, b"{}")
    assert order.key != other.key
    assert order.is_trained_here
    waits = order.served(TUNED, "http://vllm/v1", "run-1")
    assert not waits.is_trained_here
    assert waits.key not in (order.key, other.key)
    assert waits.key != order.served(TUNED, "http://vllm/v1", "run-2").key, "each run looks by itself"
    assert waits.key != order.served(TUNED, "http://other/v1", "run-1").key
    assert Order.from_bytes(waits.to_bytes()) == waits


PLACE = Place(place="pvc://adapters/ft-0", kind="adapter", sha256="b" * 64, bytes=1)
TUNED = TunedModel(model="openai/ft-0", base="base", endpoint="http://vllm/v1", rows=1, tokens=1, weights=PLACE)


class Server:
    """A server with these models. It loads an adapter if `loads`, and records what it is asked to load."""

    def __init__(self, *models: str, loads: bool = True) -> None:
        self.models, self.loads, self.loaded = list(models), loads, list[dict[str, Any]]()
        self.page = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = [{"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in server.models]
                self._answer(200, {"object": "list", "data": data})

            def do_POST(self) -> None:
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.loaded.append({"path": self.path, **given})
                if server.loads:
                    server.models.append(given["lora_name"])
                self._answer(200 if server.loads else 404, {"error": {"message": "no adapter there"}})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if server.page else "application/json")
                self.end_headers()
                self.wfile.write((server.page or json.dumps(body)).encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def look(
        self, given: Serving, before: Pending | None = None, now: float = 0.0, tuned: TunedModel | None = None
    ) -> TunedModel | Pending:
        url = f"http://127.0.0.1:{self._server.server_port}/v1"
        with openai.OpenAI(api_key="k", base_url=url) as client:
            return serving.look(client, given, tuned or TUNED, "c" * 32, before, now=now, deadline=100.0)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server("base")
    yield found
    found.close()


VLLM = Serving(load="vllm", folder="/adapters/")


def test_a_served_model_is_not_loaded_again(server: Server) -> None:
    server.models.append("ft-0")
    assert server.look(VLLM) == TUNED
    assert server.loaded == []


def test_vllm_is_asked_for_the_adapter_in_its_own_folder(server: Server) -> None:
    assert server.look(VLLM) == TUNED
    path = "/adapters/ft-0/adapter"
    assert server.loaded == [{"path": "/v1/load_lora_adapter", "lora_name": "ft-0", "lora_path": path}]


def test_a_server_that_refuses_the_adapter_is_asked_again_later(server: Server) -> None:
    server.loads = False
    waits = server.look(VLLM)
    assert isinstance(waits, Pending)
    assert "does not load" in waits.message
    assert "no adapter there" in waits.message
    assert "pvc://adapters/ft-0" in waits.message


def test_looks_become_rarer_until_the_deadline(server: Server) -> None:
    first = server.look(Serving())
    assert isinstance(first, Pending)
    second = server.look(Serving(), first, now=50.0)
    assert isinstance(second, Pending)
    third = server.look(Serving(), second, now=60.0)
    assert isinstance(third, Pending)
    assert (first.retry_after, second.retry_after, third.retry_after) == (2, 4, 8)
    assert "it has base" in second.message
    with pytest.raises(BadInput, match=r"Have it served under this name") as caught:
        server.look(Serving(), second, now=100.0)
    assert caught.value.reason == "FineTuneTimedOut"
    server.models.append("ft-0")
    assert server.look(Serving(), second, now=100.0) == TUNED


def test_ollamas_tag_is_no_other_name(server: Server) -> None:
    server.models.append("ft-0:latest")
    assert server.look(Serving()) == TUNED


def test_a_whole_model_is_not_waited_for_where_an_adapter_is_to_be_loaded(server: Server) -> None:
    whole = TUNED.model_copy(update={"weights": PLACE.model_copy(update={"kind": "model"})})
    with pytest.raises(BadInput, match="Remove load and folder") as caught:
        server.look(VLLM, tuned=whole)
    assert caught.value.reason == "InvalidSpec"
    assert server.loaded == []


def test_a_page_in_place_of_a_list_is_waited_for(server: Server) -> None:
    server.models, server.page = ["ft-0"], "<html>starting</html>"
    waits = server.look(Serving())
    assert isinstance(waits, Pending)
    assert "does not list its models" in waits.message


def test_a_server_that_is_down_is_waited_for() -> None:
    down = Server()
    down.close()
    waits = down.look(Serving())
    assert isinstance(waits, Pending)
    assert "does not list its models" in waits.message
