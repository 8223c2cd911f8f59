"""Writes models and adapters of Llama's architecture as GGUF, for llama.cpp.

    python gguf_llama.py FOLDER model.gguf                        a model with a byte-level BPE like GPT-2's
    python gguf_llama.py FOLDER adapter.gguf --adapter ADAPTER    a LoRA adapter of the model in FOLDER

The package `gguf` writes files, and knows the names of tensors. This module adds what llama.cpp expects of Llama. For
other architectures, use llama.cpp's own convert_hf_to_gguf.py and convert_lora_to_gguf.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

from parameters import FIELD, RefusedError

Config = Mapping[str, Any]
"""The config.json of a Transformers model."""
ADAPTER_PREFIX = "base_model.model."
INSTEAD = "Set gguf to false, and convert the result with llama.cpp's convert_hf_to_gguf.py or convert_lora_to_gguf.py"


def check(config: Config) -> None:
    """Raises RefusedError if a model with this configuration cannot be written."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind, rotation = config.get("model_type"), rope.get("rope_type", "default")
    if kind != "llama" or rotation != "default" or config.get("attention_bias") or config.get("mlp_bias"):
        raise RefusedError(
            f"{FIELD}.gguf: the base is a {kind} with the rope {rotation}; only llama with the default rope, without "
            f"biases, can be written. {INSTEAD}"
        )


def check_tokenizer(folder: Path, config: Config) -> None:
    """Raises RefusedError if the tokenizer in a Transformers folder cannot be written."""
    described = _tokenizer(folder)
    before = described["pre_tokenizer"] or {}
    if described["model"]["type"] != "BPE" or (before.get("type"), before.get("use_regex")) != ("ByteLevel", True):
        raise RefusedError(
            f"{FIELD}.gguf: the base's tokenizer is no byte-level BPE like GPT-2's, so it cannot be written. {INSTEAD}"
        )
    if (count := len(_ids(described))) != config["vocab_size"]:
        raise RefusedError(
            f"{FIELD}.gguf: the base has {count} tokens, but its vocab_size is {config['vocab_size']}. {INSTEAD}"
        )


def write_model(folder: Path, target: Path) -> None:
    """Writes the model in a Transformers folder. Weights of 16 bits are written as float16, others as float32.

    Raises RefusedError if its architecture or its tokenizer is another one.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    check(config)
    check_tokenizer(folder, config)
    writer = gguf.GGUFWriter(target, "llama")
    _describe(writer, config)
    _add_tokenizer(writer, folder)
    for name, weights in _tensors(sorted(folder.glob("*.safetensors"))):
        _add_tensor(writer, config, name, weights)
    _finish(writer)


def write_adapter(adapter: Path, config: Config, target: Path) -> None:
    """Writes a LoRA adapter in PEFT's form. `config` is that of its base.

    Raises RefusedError if the base's architecture is another one.
    """
    check(config)
    lora = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(lora["lora_alpha"]))
    for name, weights in _tensors([adapter / "adapter_model.safetensors"]):
        layer, _, half = name.removeprefix(ADAPTER_PREFIX).removesuffix(".weight").rpartition(".lora_")
        _add_tensor(writer, config, f"{layer}.weight", weights, f".lora_{half.lower()}")
    _finish(writer)


def _describe(writer: gguf.GGUFWriter, config: Config) -> None:
    rope = config.get("rope_parameters") or config
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_rope_dimension_count(size)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_vocab_size(config["vocab_size"])


def _tokenizer(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return found


def _ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    return {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    described = _tokenizer(folder)
    added, ids = {token["content"]: token for token in described["added_tokens"]}, _ids(described)
    tokens = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_type(added.get(token)) for token in tokens])
    writer.add_add_bos_token(False)
    gguf.SpecialVocab(folder, load_merges=True).add_to_gguf(writer, quiet=True)


def _type(added: Mapping[str, object] | None) -> gguf.TokenType:
    if added is None:
        return gguf.TokenType.NORMAL
    return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED


def _tensors(files: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118, it is no mapping
                yield name, opened.get_tensor(name)


def _add_tensor(writer: gguf.GGUFWriter, config: Config, name: str, weights: torch.Tensor, suffix: str = "") -> None:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    if (known := names.get_name(name, try_suffixes=(".weight",))) is None:
        raise RefusedError(f"{FIELD}.gguf: the tensor {name} is unknown for llama")
    heads = {"q_proj.weight": "num_attention_heads", "k_proj.weight": "num_key_value_heads"}
    key = heads.get(".".join(name.split(".")[-2:]))
    values = weights.float() if weights.dtype == torch.float32 or weights.dim() == 1 else weights.half()
    # The columns of an adapter's A are the layer's inputs, so they keep their order.
    if key is not None and suffix != ".lora_a":
        values = _interleaved(values, config[key])
    writer.add_tensor(known + suffix, np.ascontiguousarray(values.numpy()))


def _interleaved(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Returns the rows in llama.cpp's order: Transformers rotates halves of a head, llama.cpp rotates neighbours."""
    halves = weights.reshape(heads, 2, -1, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> int:
    """Returns 2 if the model is not supported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--adapter", type=Path)
    given = parser.parse_args()
    try:
        if given.adapter:
            config = json.loads((given.folder / "config.json").read_text(encoding="utf-8"))
            write_adapter(given.adapter, config, given.target)
        else:
            write_model(given.folder, given.target)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
