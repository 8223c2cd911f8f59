"""Trains a base on rows with TRL, and writes its weights."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import SFTConfig, SFTTrainer

import gguf_llama
import rows
from parameters import Base, Parameters, RefusedError, Request

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
"""The names that Transformers has for the schedules."""


def train(request: Request, data: Path, out: Path) -> dict[str, float]:
    """Trains the base on the rows of this file, and writes its weights to `out`. Returns the metrics.

    Raises RefusedError if these rows, or this base, can never be trained.
    """
    began, parameters = time.monotonic(), request.parameters
    if torch.cuda.device_count() > 1:
        raise RefusedError("finetune.trainer.gpus: this trainer uses one GPU; write 1, or set CUDA_VISIBLE_DEVICES")
    in_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    set_seed(request.seed)
    tokenizer, model = _loaded(request.base, torch.bfloat16 if in_bf16 and parameters.is_lora else torch.float32)
    if parameters.gguf:
        _check_gguf(tokenizer, model, parameters)
    table = rows.read(data, tokenizer, parameters.max_length)
    lengths = [len(row["input_ids"]) for row in table]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model,
            args=_config(parameters, request.seed, scratch, in_bf16=in_bf16),
            train_dataset=Dataset.from_list(table),
            processing_class=tokenizer,
            peft_config=_lora(parameters) if parameters.is_lora else None,
        )
        result = trainer.train()
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if parameters.is_lora:
        _write_adapter(trained, request, out)
    else:
        _write_model(trained.to(torch.bfloat16 if in_bf16 else torch.float32), tokenizer, request, out)
    return {
        "loss": result.training_loss,
        "tokens": round(sum(lengths) * (trainer.state.epoch or 0)),
        "seconds": round(time.monotonic() - began, 1),
        "longest": max(lengths),
        "rows": len(table),
        "steps": result.global_step,
    }


def _check_gguf(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, parameters: Parameters) -> None:
    """Raises RefusedError if the result could not be written for llama.cpp. It is better to know that before."""
    config = model.config.to_dict()
    gguf_llama.check(config)
    if not parameters.is_lora:
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer.save_pretrained(scratch)
            gguf_llama.check_tokenizer(Path(scratch), config)


def _loaded(base: Base, dtype: torch.dtype) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Loads the base. No code from it runs here, and no pickle is read."""
    given = {"revision": base.revision, "trust_remote_code": False}
    try:
        return (
            AutoTokenizer.from_pretrained(base.source, **given),
            AutoModelForCausalLM.from_pretrained(base.source, dtype=dtype, use_safetensors=True, **given),
        )
    except ValueError as error:  # an unknown architecture, or code of its own
        raise RefusedError(f"finetune.trainer.base: {error}") from error


def _config(parameters: Parameters, seed: int, scratch: str, *, in_bf16: bool) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    at_once = parameters.device_batch_size or parameters.batch_size
    return SFTConfig(
        output_dir=scratch,
        seed=seed,
        num_train_epochs=parameters.epochs,
        max_steps=parameters.steps or -1,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=parameters.batch_size // at_once,
        learning_rate=parameters.learning_rate,
        lr_scheduler_type=SCHEDULES[parameters.schedule],
        warmup_steps=parameters.warmup,  # below 1, it is a share
        weight_decay=parameters.weight_decay,
        max_length=None,  # `rows` has refused longer ones
        use_cpu=not on_gpu,
        bf16=in_bf16,
        activation_checkpointing=False,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )


def _lora(parameters: Parameters) -> LoraConfig:
    return LoraConfig(
        r=parameters.rank,
        lora_alpha=parameters.alpha or 2 * parameters.rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _write_adapter(model: PeftModel, request: Request, out: Path) -> None:
    folder, config = out / "adapter", model.peft_config["default"]
    config.base_model_name_or_path, config.revision = request.base.name, request.base.revision
    # Otherwise PEFT asks the Hub whether the vocabulary has grown.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    if request.parameters.gguf:
        gguf_llama.write_adapter(folder, model.config.to_dict(), out / "adapter.gguf")


def _write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Request, out: Path) -> None:
    folder = out / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if request.parameters.gguf:
        gguf_llama.write_model(folder, out / "model.gguf")
