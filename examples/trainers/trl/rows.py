"""The training rows: chats as tokens, of which only the last message is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from parameters import FIELD, RefusedError

IGNORED = -100
"""The label of a token that PyTorch's loss leaves out."""


class Row(TypedDict):
    """A row as `SFTTrainer` takes it."""

    input_ids: list[int]
    labels: list[int]


def read(file: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Row]:
    """Reads data.jsonl: in each line, `messages` with the completion as the last one.

    Raises RefusedError if rows are too long, or if the model has no chat template that fits.
    """
    if not tokenizer.chat_template:
        raise RefusedError("finetune.trainer.base: this model has no chat template; take its instruction-tuned version")
    chats = [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").split("\n") if line]
    found = [_row(number, chat, tokenizer) for number, chat in enumerate(chats, 1)]
    lengths = [len(row["input_ids"]) for row in found]
    if too_long := sum(length > max_length for length in lengths):
        raise RefusedError(
            f"{too_long} of {len(found)} rows have more than {FIELD}.maxLength = {max_length} tokens; the longest has "
            f"{max(lengths)}; raise maxLength, or shorten the program's prompts"
        )
    return found


def _row(number: int, chat: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> Row:
    try:
        whole: list[int] = tokenizer.apply_chat_template(chat, return_dict=False)
        prompt: list[int] = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, return_dict=False)
    except TemplateError as error:
        raise RefusedError(f"finetune.trainer.base: its chat template refuses row {number}: {error}") from error
    if whole[: len(prompt)] != prompt:
        raise RefusedError(
            f"finetune.trainer.base: in row {number}, its chat template writes the prompt of a finished chat otherwise "
            "than that of an open one, so the model would learn from other prompts than it will get"
        )
    return Row(input_ids=whole, labels=[IGNORED] * len(prompt) + whole[len(prompt) :])
