"""A model's knowledge: the part of a corpus that the model has seen. It is the same in every process."""

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
    """A piece of knowledge: its label, text and features, and its depth.

    The depth says how hard the model recalls it (0: always, without a reminder; 1: never).

    A model always uses a phrase of depth 0. It uses a deeper phrase only if the prompt reminds it of the phrase's
    label.
    """

    label: str
    text: str
    features: Features
    depth: float


class KnowledgeError(ValueError):
    """The corpus cannot be read. The text names the line and the cause."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """All knowledge, as (label, text) pairs in the order of the file, and the weights of its words."""

    entries: tuple[tuple[str, str], ...] = ()

    @cached_property
    def lexicon(self) -> Lexicon:
        """Says how telling each word is in the corpus."""
        return Lexicon(self.entries)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Returns the labels, in the order in which they appear."""
        return tuple(dict.fromkeys(label for label, _ in self.entries))


def read(path: Path) -> Corpus:
    """Reads a corpus: JSON lines, each with `label` or `labels`, and with `text`, `texts` or `phrases`.

    Raises:
        KnowledgeError: a line does not have this form.
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
        capability: share of the corpus that the model knows well, between 0 and 1. A more capable model knows all that
            a less capable model knows.
        seed: a model with another seed has seen other parts of the corpus.
    """

    corpus: Corpus
    capability: float
    seed: int

    @cached_property
    def phrases(self) -> tuple[Phrase, ...]:
        """Returns every phrase with its depth, in the order of the corpus."""
        return tuple(
            Phrase(label, text, self.corpus.lexicon.features(text), self._depth(label, text))
            for label, text in self.corpus.entries
        )

    def _depth(self, label: str, text: str) -> float:
        drawn = chance.unit(self.seed, "education", label, text)
        return max(0.0, drawn - self.capability) / (1 - self.capability) if self.capability < 1 else 0.0

    @cached_property
    def by_feature(self) -> Mapping[str, tuple[int, ...]]:
        """Returns feature -> the positions of the phrases that have this feature."""
        found: dict[str, list[int]] = defaultdict(list)
        for position, phrase in enumerate(self.phrases):
            for feature in phrase.features.weights:
                found[feature].append(position)
        return {feature: tuple(positions) for feature, positions in found.items()}

    def signs(self, label: str) -> list[str]:
        """Returns the texts about `label` that this model knows well, in the order of the corpus."""
        return [phrase.text for phrase in self.phrases if phrase.label == label and phrase.depth == 0]

    def sense(self, text: str, label: str) -> float:
        """Returns how plausible a text with this label is, between 0 and 1; half if the corpus says nothing about it.

        This uses all that the corpus says of the label, whatever the model knows. A model sees sense in a given answer
        more easily than it finds the answer.
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
