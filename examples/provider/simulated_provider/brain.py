"""Decides which label the evidence favours, from a prompt and the model's knowledge alone (pure).

Four kinds of evidence count for a label:

* knowledge: phrases about the label that occur in the query. Phrases that the model knows well always count. Other
  phrases count as far as demonstrations and instruction remind the model of the label.
* likeness: how similar the query is to demonstrations of the label, with their reasoning.
* guidance: telling words that the instruction gives together with the label's name.
* the label's own name in the query.

Noise is added to the evidence. A more capable model is less noisy. Any model is less noisy if its instruction has more
to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from simulated_provider import chance
from simulated_provider.knowledge import Memory
from simulated_provider.prompts import Demo, Prompt
from simulated_provider.words import Features, cosine, sentences, share, telling

KNOWLEDGE, LIKENESS, GUIDANCE, NAME = 1.0, 1.1, 0.9, 0.4
"""Weights of the four kinds of evidence, in the order of the text above."""
LESSON, PRACTICE, TOLD = 1.8, 1.1, 0.5
"""How much a label is recalled by a demonstration of it, by demonstrations of any label, and by the instruction."""
BARE = 0.25
"""What a demonstration without reasoning teaches, compared with a demonstration with reasoning."""
LEARNED = 2.0
"""What a training row of a fine-tune counts for likeness, compared with a demonstration in the prompt."""
SHARP = 1.3
"""Exponent of the share of a phrase that the query has. So half of a phrase counts less than half of its evidence."""
NOISE = 0.35
"""Standard deviation of the noise of a model that knows nothing and gets no hint. Evidence is of the order of 1."""
STEADIED_BY_CAPABILITY, STEADIED_BY_FOCUS, STEADIED_BY_PRACTICE = 0.6, 0.3, 0.6
"""Share of the noise that capability, instruction and demonstrations can each take away at most."""
OF_QUERY, OF_PROMPT, OF_REQUEST = 0.75, 0.35, 0.55
"""Shares of the noise that come from the query, from the prompt, and from the single request."""


class Verdict(NamedTuple):
    """The chosen label, how sure the model is (0 .. 1), and the words of the query that count for it, most telling
    first.
    """

    label: str
    confidence: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model of the provider: its name, its capability between 0 and 1, and what it remembers.

    Attributes:
        lessons: what a fine-tune has taught it. They count as demonstrations in each prompt.
    """

    name: str
    capability: float
    memory: Memory
    lessons: tuple[Demo, ...] = ()


def spoken(label: str) -> str:
    """Returns a label as a text would write it: `late_payment` becomes "late payment"."""
    return re.sub(r"[_\W]+", " ", label).strip().lower()


@lru_cache(maxsize=4096)
def guidance(text: str, labels: tuple[str, ...]) -> Mapping[str, str]:
    """Returns what a text says of each label: those sentences and lines, joined, that name this label and no other."""
    found: dict[str, list[str]] = {}
    patterns = {label: re.compile(rf"\b{re.escape(spoken(label))}\b") for label in labels}
    for sentence in (part for line in sentences(text) for part in line.split(";")):
        plain = re.sub(r"[_\W]+", " ", sentence.lower())
        named = [label for label, pattern in patterns.items() if pattern.search(plain)]
        if len(named) == 1:
            rest = patterns[named[0]].sub(" ", plain)
            if telling(rest):
                found.setdefault(named[0], []).append(rest)
    return {label: " ".join(parts) for label, parts in found.items()}


def focus(instruction: str) -> float:
    """Returns how much an instruction has to say, between 0 (nothing) and 1."""
    return 1 - math.exp(-len({word.stem for word in telling(instruction)}) / 40)


class Weighing:
    """The evidence in one prompt for the labels of one field.

    Args:
        labels: at least one label.
        field: the output field to decide. A demonstration counts for the label that it has in this field.
        draw: what the noise depends on besides the prompt (temperature, index of the completion, ...).
    """

    def __init__(
        self, model: Model, prompt: Prompt, labels: Sequence[str], field: str, draw: tuple[object, ...]
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._labels = tuple(labels)
        self._field = field
        self._draw = draw
        self._lexicon = model.memory.corpus.lexicon
        self._query = self._lexicon.features(prompt.text)
        self._told = guidance(prompt.task.instruction, self._labels)
        self._learned = _learned(model, field)
        self._practice = 1 - math.exp(-sum(map(self._worth, prompt.demos)) / 4 - 2 * self._learned)
        self._words: dict[str, dict[str, float]] = {label: {} for label in self._labels}

    def verdict(self) -> Verdict:
        """Returns the verdict. If two labels have equal evidence, the label named first wins."""
        scores = self._scores()
        ranked = sorted(self._labels, key=lambda label: -scores[label])
        best = ranked[0]
        margin = scores[best] - scores[ranked[1]] if len(ranked) > 1 else 1.0
        return Verdict(best, self._confidence(margin, scores[best]), self._surfaces(best))

    def _confidence(self, margin: float, support: float) -> float:
        return round(0.3 + 0.69 * (1 - math.exp(-1.6 * margin)) * min(1.0, 0.4 + max(0.0, support)), 2)

    def _scores(self) -> dict[str, float]:
        known = self._knowledge()
        noise = self._noise()
        return {
            label: KNOWLEDGE * known[label]
            + LIKENESS * self._likeness(label)
            + GUIDANCE * self._guidance(label)
            + NAME * share(self._query, self._lexicon.features(spoken(label)))
            + noise[label]
            for label in self._labels
        }

    def _knowledge(self) -> dict[str, float]:
        memory = self._model.memory
        met: dict[int, float] = {}
        for feature, weight in self._query.weights.items():
            for position in memory.by_feature.get(feature, ()):
                met[position] = met.get(position, 0.0) + weight
        recall = {label: self._recall(label) for label in self._labels}
        strengths: dict[str, list[float]] = {label: [] for label in self._labels}
        for position, weight in met.items():
            phrase = memory.phrases[position]
            if phrase.label not in strengths:
                continue
            strength = max(1.0 if phrase.depth == 0 else 0.0, recall[phrase.label] * math.sqrt(1 - phrase.depth))
            strength *= (weight / (sum(phrase.features.weights.values()) or 1.0)) ** SHARP
            strengths[phrase.label].append(strength)
            self._note(phrase.label, phrase.features, strength)
        return {label: _sum_of_best(found) for label, found in strengths.items()}

    def _recall(self, label: str) -> float:
        """Returns how far the prompt reminds the model of a label, between 0 and 1.

        A demonstration of the label counts most.
        """
        shown = sum(LESSON * self._worth(demo) + cosine(self._query, self._lesson(demo)) for demo in self._demos(label))
        shown += LESSON * self._learned
        return 1 - math.exp(-shown - PRACTICE * self._practice - TOLD * (label in self._told))

    def _worth(self, demo: Demo) -> float:
        """Returns how much a demonstration teaches, between 0 and 1.

        It teaches more if it has reasoning and makes sense.
        """
        steps = 1.0 if "reasoning" in demo.outputs or "rationale" in demo.outputs else BARE
        sense = self._model.memory.sense(demo.text, demo.outputs.get(self._field, ""))
        return steps * (0.1 + 0.9 * sense)

    def _likeness(self, label: str) -> float:
        found = []
        learned = [demo for demo in self._model.lessons if demo.outputs.get(self._field) == label]
        for weight, demo in [*((1.0, demo) for demo in self._demos(label)), *((LEARNED, demo) for demo in learned)]:
            lesson = self._lesson(demo)
            found.append(weight * cosine(self._query, lesson))
            self._note(label, lesson, found[-1])
        return _sum_of_best(found, 2)

    def _guidance(self, label: str) -> float:
        if label not in self._told:
            return 0.0
        words = self._lexicon.features(self._told[label])
        self._note(label, words, 0.5)
        shared = sum(weight for feature, weight in words.weights.items() if feature in self._query.weights)
        return 1 - math.exp(-shared)

    def _noise(self) -> dict[str, float]:
        instruction = self._prompt.task.instruction
        scale = (
            NOISE
            * (1 - STEADIED_BY_CAPABILITY * self._model.capability)
            * (1 - STEADIED_BY_FOCUS * focus(instruction))
            * (1 - STEADIED_BY_PRACTICE * self._practice)
        )
        seed, name = self._model.memory.seed, self._model.name
        frame = (instruction, *(demo.text for demo in self._prompt.demos))
        text = self._prompt.text
        return {
            label: scale
            * (
                OF_QUERY * chance.normal(seed, name, "query", label, text)
                + OF_PROMPT * chance.normal(seed, name, "prompt", label, *frame)
                + OF_REQUEST * chance.normal(seed, name, "request", label, text, *frame, *self._draw)
            )
            for label in self._labels
        }

    def _demos(self, label: str) -> list[Demo]:
        return [demo for demo in self._prompt.demos if demo.outputs.get(self._field) == label]

    def _lesson(self, demo: Demo) -> Features:
        others = [value for name, value in demo.outputs.items() if name != self._field]
        return self._lexicon.features("\n".join([demo.text, *others]))

    def _note(self, label: str, features: Features, strength: float) -> None:
        words = self._words[label]
        for feature, weight in features.weights.items():
            if feature in self._query.weights:
                words[feature] = max(words.get(feature, 0.0), weight * strength)

    def _surfaces(self, label: str) -> tuple[str, ...]:
        words = self._words[label]
        surfaces = {word.stem: word.surface for word in telling(self._prompt.text)}
        ranked = sorted((stem for stem in words if stem in surfaces), key=lambda stem: (-words[stem], stem))
        return tuple(surfaces[stem] for stem in ranked)


@lru_cache(maxsize=64)
def _learned(model: Model, field: str) -> float:
    """Returns how much a model has learned from its fine-tunes about a field, from 0 to 1.

    Many rows that make sense teach most.
    """
    if not model.lessons:
        return 0.0
    sense = [model.memory.sense(demo.text, demo.outputs.get(field, "")) for demo in model.lessons]
    return (1 - math.exp(-len(sense) / 60)) * (sum(sense) / len(sense)) ** 2


def _sum_of_best(found: Iterable[float], count: int = 3) -> float:
    return sum(sorted(found, reverse=True)[:count])
