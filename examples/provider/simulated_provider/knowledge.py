"""A model's knowledge: the part of a corpus that it has seen, the same in every process."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from simulated_provider import chance
from simulated_provider.words import Features, Lexicon, share


class Phrase(NamedTuple):
    """A piece of knowledge: its label, text and features, and its depth (0: known at once, 1: never).

    A phrase of depth 0 comes to the model's mind by itself; a deeper one only when the prompt reminds of its label.
    """

    label: str
    text: str
    features: Features
    depth: float


class KnowledgeError(ValueError):
    """The corpus cannot be read; the text names the line and the cause."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """All knowledge, as (label, text) pairs in file order, and its language."""

    entries: tuple[tuple[str, str], ...] = ()

    @cached_property
    def lexicon(self) -> Lexicon:
        """How telling each word is in the corpus."""
        return Lexicon(self.entries)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in order of appearance."""
        return tuple(dict.fromkeys(label for label, _ in self.entries))


def read(path: Path) -> Corpus:
    """Read a corpus: JSON lines, each with `label` or `labels`, and `text`, `texts` or `phrases`.

    Raises:
        KnowledgeError: a line is not of this form.
        OSError: the file cannot be read.
    """
    entries: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                entries.extend(_entries(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise KnowledgeError(f"{path}, line {number}: expected label(s) and text(s): {error!r}") from error
    return Corpus(tuple(entries))


def _entries(record: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    labels = _strings(record, "label", "labels")
    return [(label, text) for text in _strings(record, "text", "texts", "phrases") for label in labels]


def _strings(record: Mapping[str, object], *keys: str) -> list[str]:
    found = next((record[key] for key in keys if key in record), None)
    values = found if isinstance(found, list) else [found]
    texts = [value for value in values if isinstance(value, str) and value]
    if not texts or len(texts) < len(values):
        raise ValueError(f"no {' or '.join(keys)}")
    return texts


@dataclass(frozen=True, eq=False)
class Memory:
    """The part of a corpus that one model remembers.

    Args:
        capability: between 0 and 1: the part that it knows well. A more capable model knows this part, too.
        seed: another seed, another education.
    """

    corpus: Corpus
    capability: float
    seed: int

    @cached_property
    def phrases(self) -> tuple[Phrase, ...]:
        """Every phrase with its depth, in corpus order."""
        return tuple(
            Phrase(label, text, self.corpus.lexicon.features(text), self._depth(label, text))
            for label, text in self.corpus.entries
        )

    def _depth(self, label: str, text: str) -> float:
        drawn = chance.unit(self.seed, "education", label, text)
        return max(0.0, drawn - self.capability) / (1 - self.capability) if self.capability < 1 else 0.0

    @cached_property
    def by_feature(self) -> Mapping[str, tuple[int, ...]]:
        """Feature -> the positions of the phrases that have it."""
        found: dict[str, list[int]] = defaultdict(list)
        for position, phrase in enumerate(self.phrases):
            for feature in phrase.features.weights:
                found[feature].append(position)
        return {feature: tuple(positions) for feature, positions in found.items()}

    def signs(self, label: str) -> list[str]:
        """The texts about `label` that this model knows well, in corpus order."""
        return [phrase.text for phrase in self.phrases if phrase.label == label and phrase.depth == 0]

    def sense(self, text: str, label: str) -> float:
        """How plausible it is, with hindsight, that a text has this label: between 0 and 1, half if nothing is known.

        Hindsight reaches deeper than knowledge: whatever the corpus says of the label counts.
        """
        return self._sense(text, label)

    @cached_property
    def _sense(self) -> Callable[[str, str], float]:
        @lru_cache(maxsize=16384)
        def sense(text: str, label: str) -> float:
            features = self.corpus.lexicon.features(text)
            best = dict.fromkeys(self.corpus.labels, 0.0)
            for phrase in self.phrases:
                best[phrase.label] = max(best[phrase.label], share(features, phrase.features))
            highest = max(best.values(), default=0.0)
            return best[label] / highest if highest and label in best else 0.5

        return sense
