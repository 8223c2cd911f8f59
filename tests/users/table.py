"""The table has the users' programs, two optimizers for each program, and the end of each compile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.sampling import DAY, WHOLE
from support.users import Optimizer

FEW = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}

OPTIMIZERS = {
    "bootstrap": Optimizer("bootstrapFewShot", {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}),
    "copro": Optimizer("copro", {"breadth": 2, "depth": 1}),
    "gepa": Optimizer("gepa", {"max_metric_calls": 24}, "feedback"),
    "labeled": Optimizer("labeledFewShot", {"k": 3}),
    "miprov2": Optimizer("miprov2", {**FEW, "num_candidates": 2, "num_trials": 3, "minibatch": False}),
    "random search": Optimizer("bootstrapFewShotWithRandomSearch", {**FEW, "num_candidate_programs": 2}),
    "rules": Optimizer("inferRules", {**FEW, "num_candidates": 1, "num_rules": 3}),
    "simba": Optimizer("simba", {"bsize": 4, "num_candidates": 2, "max_steps": 1, "max_demos": 2}),
}

EQUAL = "equal"
"""The compile ends with stock's program and scores or with stock's error, and makes no request that stock would not."""
EQUAL_OR = "equal, or "
"""This prefix stands before a part of a refusal's message. Then both outcomes are right: EQUAL and this refusal."""


@dataclass(frozen=True)
class Row:
    """Says which two optimizers compile a program. A name that is no optimizer's is a function in the program's file.

    Attributes:
        ends: EQUAL, or a part of the refusal's message, or EQUAL_OR and a part of that message.
        late: whether a refusal comes after some paid calls, because only answers of a model show the problem.
        unlike: the outcomes of compiles that differ from `ends`, by optimizer.
        spec: further fields of the spec.
    """

    optimizers: tuple[str, str]
    ends: str = EQUAL
    late: bool = False
    unlike: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    "agent_booking": Row(("random search", "copro"), "Nondeterministic", late=True),
    "agent_lookup": Row(("random search", "gepa"), f"{EQUAL_OR}DOCS", late=True),
    "agent_native": Row(("random search", "miprov2")),
    "async_chain": Row(("random search", "simba")),
    "async_gather": Row(("copro", "labeled"), spec={"limits": {"cellSeconds": 4}}),
    "best_of_n": Row(("random search", "copro")),
    "callback_counts": Row(("random search", "simba"), "callback_counts.counter.calls"),
    "callback_logs": Row(("random search", "bootstrap")),
    "callback_of_predictor": Row(("random search", "copro"), f"{EQUAL_OR}Recorder().last"),
    "chat_history": Row(("random search", "gepa")),
    "classify_bare": Row(("simba", "gepa")),
    "client_at_module_level": Row(("random search", "miprov2")),
    "client_held": Row(("random search", "miprov2")),
    "complete_and_grounded": Row(("random search", "miprov2")),
    "configured_at_import": Row(("random search", "gepa")),
    "context_in_forward": Row(("random search", "simba")),
    "cost_of_history": Row(("random search", "copro"), f"{EQUAL_OR}history"),
    "counter_in_prompt": Row(("random search", "copro"), "Nondeterministic: spec.program on validation example 1"),
    "custom_lm": Row(("random search", "miprov2")),
    "custom_lm_choice": Row(("by_predictor", "by_context")),
    "email_extraction": Row(("miprov2", "simba")),
    "ensemble": Row(("vote", "random search")),
    "errors_count": Row(("random search", "copro")),
    "errors_tolerated": Row(("random search", "simba")),
    "generator_held": Row(("random search", "copro"), "Nondeterministic: spec.program on validation example 1"),
    "generator_per_example": Row(("random search", "miprov2")),
    "history_of_module": Row(("random search", "copro"), f"{EQUAL_OR}history"),
    "hops_by_trace": Row(("bootstrap", "random search")),
    "image_label": Row(("random search", "copro")),
    "inspects_history": Row(("random search", "simba")),
    "json_adapter": Row(("random search", "miprov2")),
    "judge_own_lm": Row(("random search", "gepa")),
    "knobs": Row(("by_global", "by_environment"), f"{EQUAL_OR}the optimizer changes", late=True),
    "knobs_of_class": Row(("by_class", "by_shared_object"), f"{EQUAL_OR}knobs_of_class", late=True),
    "knn_demos": Row(("few_shot", "miprov2")),
    "learns_from_answers": Row(("random search", "copro"), "kept", late=True),
    "lms_per_predictor": Row(("random search", "miprov2")),
    "majority_of_n": Row(("miprov2", "simba")),
    "memo_dictionary": Row(("random search", "copro")),
    "memo_on_program": Row(("random search", "miprov2")),
    "metric_collects": Row(("worst_first", "random search"), unlike={"worst_first": f"{EQUAL_OR}metric_collects.seen"}),
    "metric_of_two": Row(("copro", "random search"), unlike={"random search": f"{EQUAL_OR}MetricLoadFailed"}),
    "metric_raises_bar": Row(("random search", "copro"), "longest", late=True),
    "multi_chain": Row(("random search", "copro")),
    "multihop": Row(("miprov2", "gepa")),
    "names_of_dspy": Row(("stages", "random search")),
    "nested_modules": Row(("miprov2", "simba")),
    "now_in_prompt": Row(("random search", "copro"), "Nondeterministic: spec.program on validation example 1"),
    "own_adapter": Row(("random search", "simba")),
    "own_exception": Row(("random search", "bootstrap")),
    "own_interpreter": Row(("random search", "miprov2")),
    "own_optimizer": Row(("climb", "both")),
    "own_settings": Row(("tones", "styles")),
    "papillon": Row(("gepa", "miprov2")),
    "parallel_pages": Row(("random search", "miprov2")),
    "people_extraction": Row(("miprov2", "copro")),
    "preset_demos": Row(("random search", "labeled")),
    "program_of_thought": Row(("random search", "bootstrap")),
    "rag_retriever_held": Row(("random search", "miprov2")),
    "rag_settings_rm": Row(("random search", "copro")),
    "rag_tutorial": Row(("miprov2", "random search")),
    "refine_gives_up": Row(("random search", "copro"), f"{EQUAL_OR}fail_count", late=True),
    "refine_judged": Row(("random search", "copro")),
    "refine_raises": Row(("bootstrap", "random search"), f"{EQUAL_OR}fail_count", late=True),
    "retrieve_held": Row(("random search", "bootstrap"), f"{EQUAL_OR}Retrieve"),
    "returns_generator": Row(("random search", "copro"), f"{EQUAL_OR}ResultNotPortable", late=True),
    "returns_text": Row(("random search", "copro")),
    "seeded_globally": Row(("random search", "copro"), "Nondeterministic: spec.program on validation example 1"),
    "settings_of_environment": Row(("random search", "rules")),
    "streamed": Row(("random search", "bootstrap")),
    "tool_calls_by_hand": Row(("random search", "copro")),
    "trace_overflow": Row(("random search", "copro"), f"{EQUAL_OR}trace", late=True),
    "trace_reader": Row(("random search", "gepa")),
    "two_step_adapter": Row(("random search", "copro")),
    "typed_dataclass": Row(("random search", "copro")),
    "typed_dates": Row(("random search", "rules")),
    "uncached_lm": Row(("random search", "bootstrap")),
    "usage_metric": Row(("random search", "copro"), f"{EQUAL_OR}usage"),
    "xml_and_chat": Row(("random search", "rules")),
}


@dataclass(frozen=True)
class Compile:
    """A compile of a program with one of its optimizers."""

    program: str
    which: str
    is_first: bool
    """If true, `which` is the first of the program's two optimizers."""

    @property
    def row(self) -> Row:
        return ROWS[self.program]

    @property
    def optimizer(self) -> Optimizer:
        return OPTIMIZERS.get(self.which) or Optimizer("custom", {"entrypoint": self.which})

    @property
    def ends(self) -> str:
        return self.row.unlike.get(self.which, self.row.ends)

    @property
    def small_wave(self) -> int | None:
        """With the first optimizer, workers run every cell. With the second, the plan runs as many cells as usual."""
        return 0 if self.is_first else None

    @property
    def twin(self) -> bool:
        """A twin sees the same program with both optimizers. If it finds no difference, one twin is enough."""
        return self.is_first or self.ends != EQUAL

    def __str__(self) -> str:
        return f"{self.program}, {self.which}"


def compiles() -> Iterator[Compile]:
    """Yields half of the programs, each with one of its optimizers: in four days, all with both.

    For `make fidelity`, yields all with both.
    """
    for number, (program, row) in enumerate(ROWS.items()):
        first, second = row.optimizers
        both = [Compile(program, first, is_first=True), Compile(program, second, is_first=False)]
        if WHOLE:
            yield from both
        elif number % 2 == DAY % 2:
            yield both[(number + DAY) // 2 % 2]
