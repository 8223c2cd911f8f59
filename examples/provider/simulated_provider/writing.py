"""Writes free texts from the prompt and the model's knowledge.

The name of the field decides the kind of text. The kinds are guidance for another model (`proposed_instruction`,
`rules`, `module_advice`), notes about data (`observations`, `summary`), the reasoning before a decision, and an extract
from the query.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from simulated_provider import chance
from simulated_provider.brain import Model, Verdict, spoken
from simulated_provider.prompts import Prompt
from simulated_provider.records import Case, cases
from simulated_provider.words import sentences, telling

Glossary = Mapping[str, Sequence[str]]
"""Label -> words that count for it, most telling first."""

Writer = Callable[[Model, Prompt, Verdict | None, tuple[object, ...]], str]


def write(
    name: str, description: str, model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]
) -> str:
    """Returns the text of a free-text field.

    Args:
        name, description: name and description of the field, or of the part of a structure.
        verdict: the decision about the prompt's other fields, if there is one.
        draw: what the choice of words depends on besides the prompt.
    """
    for pattern, writer in _WRITERS:
        if pattern.search(name.lower()):
            return writer(model, prompt, verdict, draw)
    return extract(model, prompt, verdict, draw)


# --- before a decision --------------------------------------------------------------------------------------------


def reasoning(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns the reasons of the verdict: the words that counted for it, and some typical words of its label."""
    if verdict is None:
        return f"The essential part is: {extract(model, prompt, verdict, draw)}"
    if not verdict.words:
        return f"Nothing in the text is telling; {verdict.label} is the most plausible."
    kin = _pick(model.memory.signs(verdict.label), 1 + round(3 * model.capability), (verdict.label, prompt.text))
    more = f" Typical of {spoken(verdict.label)}: {', '.join(kin)}." if kin else ""
    return f"The text mentions {_listed(verdict.words[:4])}, which points to {verdict.label}.{more}"


def extract(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns the sentence of the query that the model finds most telling."""
    lexicon = model.memory.corpus.lexicon
    hinted = {word.stem for word in telling(prompt.task.instruction)}
    for demo in prompt.demos:
        hinted.update(word.stem for value in demo.outputs.values() for word in telling(value))

    def judged(sentence: str) -> float:
        stems = {word.stem for word in telling(sentence)}
        known = sum(lexicon.weight(stem) for stem in stems if _knows(model, stem) or stem in hinted)
        slip = 1.2 * (1 - model.capability) * chance.normal(model.memory.seed, model.name, "extract", sentence)
        return known / (3 + len(stems)) + 0.2 * slip

    found = [sentence for sentence in sentences(prompt.text) if telling(sentence)]
    if not found:
        return "nothing to tell"
    best = max(found, key=judged)
    return best if len(best) <= 240 else best[:237].rsplit(" ", 1)[0] + " ..."


def _knows(model: Model, stem: str) -> bool:
    return any(model.memory.phrases[at].depth == 0 for at in model.memory.by_feature.get(stem, ()))


# --- for other models ---------------------------------------------------------------------------------------------

_OPENINGS = (
    "You are an experienced specialist who takes pride in getting every case right.",
    "Read the whole input before you answer, and decide by what is asked for, not by the tone.",
    "Work carefully: a wrong answer costs a person time, and someone will act on yours.",
    "Answer as a seasoned reviewer would, weighing every concrete detail of the input.",
    "Find the concrete facts first, then compare them with each possible answer.",
)
_HABITS = (
    "When several answers seem possible, prefer the one that the most specific words support.",
    "Ignore greetings, anger and politeness; products, amounts, dates and actions carry the meaning.",
    "Name the evidence briefly before you decide, and never leave the list of allowed answers.",
    "Side remarks may mention other subjects; the request that the writer wants settled is what counts.",
    "If the evidence is thin, say so by a low confidence instead of inventing details.",
    "Quote the decisive words, compare the two closest answers, then commit to one.",
)


def guidance(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns an instruction: the prompt's basic instruction, habits, and the telling words of each label."""
    seed = (model.memory.seed, model.name, prompt.task.instruction, prompt.text, *draw)
    terse = re.search(r"\b(concise|simple|brief|short)\b", prompt.query.get("tip", "")) is not None
    habits = _pick(_HABITS, 1 if terse else 2 + chance.below(3, "habits", *seed), ("habits", *seed))
    opening = _OPENINGS[chance.below(len(_OPENINGS), "opening", *seed)]
    basic = _basic_instruction(prompt)
    glossary = _glossary(model, prompt)
    size = (2 if terse else 3) + chance.below(5, "size", *seed)
    kept = [label for label in glossary if chance.unit("kept", label, *seed) < 0.55 + 0.45 * model.capability]
    lines = [f"- {label}: {', '.join(_pick(glossary[label], size, (label, *seed)))}" for label in kept]
    known = ["Words that tell the answers apart are these.", *lines] if lines else []
    return "\n".join([*([basic] if basic else []), opening, *habits, *known])


def fenced(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns the answer to a plain prompt.

    If the prompt asks for an instruction between fences, this is the answer.
    """
    if "```" in prompt.text and "instruction" in prompt.text:
        return f"```\n{guidance(model, prompt, verdict, draw)}\n```"
    return extract(model, prompt, verdict, draw)


def prefix(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns the words after which another model is to start its answer."""
    starts = ("Answer:", "The best fit is:", "Decision:", "After weighing the evidence:")
    return starts[chance.below(len(starts), model.memory.seed, prompt.text, *draw)]


def notes(model: Model, prompt: Prompt, verdict: Verdict | None, draw: tuple[object, ...]) -> str:
    """Returns notes on the examples in the prompt: their labels, and the words that go with each label."""
    glossary = _glossary(model, prompt)
    if not glossary:
        return f"The material is about this. {extract(model, prompt, verdict, draw)}"
    lines = [f"- {label}: {', '.join(list(words)[:8])}" for label, words in glossary.items()]
    return "\n".join([f"Short texts are sorted into {len(lines)} groups, told apart by words such as these.", *lines])


_BASIC = ("basic_instruction", "current_instruction", "instruction")


def _basic_instruction(prompt: Prompt) -> str:
    given = next((prompt.query[name] for name in _BASIC if prompt.query.get(name)), "")
    if not given:
        attempts = re.findall(r"Instruction #\d+: (.*?)(?=»|\n\[\d+\]|\Z)", prompt.text, re.DOTALL)
        given = attempts[-1] if attempts else ""
    if not given and (block := re.search(r"```\n(.*?)\n```", prompt.text, re.DOTALL)):
        given = block[1]
    kept = [line for line in given.strip().splitlines() if line.strip() and not _BULLET.match(line)]
    return kept[0].strip() if kept else ""


_BULLET = re.compile(r"^\s*[-*] (?P<label>[A-Za-z][\w /&]{0,39}): (?P<words>\S.*)$")


def _glossary(model: Model, prompt: Prompt) -> Glossary:
    """Returns words for each label, from examples in the prompt, from notes that it quotes, and from the model's
    memory.
    """
    seen = _of_cases(tuple(cases(prompt.query)))
    quoted: dict[str, list[str]] = {}
    for value in prompt.query.values():
        for line in value.splitlines():
            if bullet := _BULLET.match(line):
                quoted.setdefault(bullet["label"], []).extend(re.split(r",\s*", bullet["words"].rstrip(". ")))
    plain = re.sub(r"[_\W]+", " ", prompt.text.lower())
    named = [label for label in model.memory.corpus.labels if re.search(rf"\b{re.escape(spoken(label))}\b", plain)]
    if not named and not seen and not quoted:
        # The prompt names no subject, so the model assumes the subject that it knows.
        named = list(model.memory.corpus.labels)
    labels = dict.fromkeys([*seen, *quoted, *named])
    return {
        label: words
        for label in labels
        if (words := list(dict.fromkeys([*seen.get(label, ()), *quoted.get(label, ()), *model.memory.signs(label)])))
    }


@lru_cache(maxsize=256)
def _of_cases(found: tuple[Case, ...]) -> Glossary:
    """Returns words that come with one label more often than with all others together."""
    by_label: dict[str, Counter[str]] = {}
    everywhere: Counter[str] = Counter()
    surfaces: dict[str, str] = {}
    for case in found:
        words = {word.stem: word.surface for word in telling(case.text)}
        surfaces.update({stem: surface for stem, surface in words.items() if stem not in surfaces})
        by_label.setdefault(case.label, Counter()).update(words.keys())
        everywhere.update(words.keys())
    return {
        label: [
            surfaces[stem]
            for stem, count in sorted(counts.items(), key=lambda item: (-(item[1] ** 2) / everywhere[item[0]], item[0]))
            if count * 2 > everywhere[stem] and len(surfaces[stem]) > 3
        ][:12]
        for label, counts in by_label.items()
    }


def _pick(options: Sequence[str], count: int, seed: tuple[object, ...]) -> list[str]:
    """Returns `count` of the options, chosen by a draw, in the order of the options."""
    chosen = sorted(options, key=lambda option: chance.unit("pick", option, *seed))[:count]
    return [option for option in options if option in chosen]


def _listed(words: Sequence[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


_WRITERS: tuple[tuple[re.Pattern[str], Writer], ...] = (
    (re.compile(r"prefix"), prefix),
    (re.compile(r"instruction|rules|advice|guideline|guidance|tips"), guidance),
    (re.compile(r"reason|rationale|thought|explanation|discussion|justification"), reasoning),
    (re.compile(r"observation|summary|description"), notes),
)
