"""Makes the base of examples/tiny, a Llama of 0.6 million parameters that has learned nothing:

    python make_base.py [--seed 0] PROMPTS FOLDER

It needs the packages of examples/trainers/trl. FOLDER becomes a Transformers model and a `model.gguf` for llama.cpp.
PROMPTS has chats as DSPy writes them. A line that is in most of them becomes one token, so that a row has about sixty
tokens, not four times as many.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GGUF = Path(__file__).parents[1] / "trainers" / "trl" / "gguf_llama.py"
HIDDEN, LAYERS, HEADS, INNER, VOCABULARY, CONTEXT = 128, 2, 4, 384, 1500, 2048
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(texts: list[str], chats: int) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE in which a line of most chats is one token."""
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    count = Counter(line for text in texts for line in set(text.splitlines(keepends=True)))
    frequent = sorted(line for line, times in count.items() if times > chats / 2 and len(line) > 4)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(frequent),
        special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((line for line in lines if line not in frequent), trainer)
    made.add_tokens([AddedToken(line, normalized=False, special=False) for line in frequent])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        eos_token=END,
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )


def model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """Returns a model with random weights. Their scale, 1 / sqrt(inputs), lets so small a model learn quickly."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        pad_token_id=0,
        eos_token_id=2,
    )
    made = LlamaForCausalLM(config)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in made.parameters():
            if weights.dim() == 2:
                weights.normal_(0, weights.shape[1] ** -0.5, generator=dice)
    return made


def contents(chats: Iterable[str]) -> list[str]:
    """Returns the texts of all messages."""
    return [message["content"] for chat in chats for message in json.loads(chat)["messages"]]


def main() -> None:
    """Writes the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chats = given.prompts.read_text(encoding="utf-8").splitlines()
    words = tokenizer(contents(chats), len(chats))
    words.save_pretrained(given.folder)
    model(len(words), given.seed).save_pretrained(given.folder)
    subprocess.run([sys.executable, str(GGUF), str(given.folder), str(given.folder / "model.gguf")], check=True)


if __name__ == "__main__":
    main()
