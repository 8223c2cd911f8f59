"""The optimizer GEPA, with its choices of candidates and examples."""

from typing import Annotated, Literal

from pydantic import Field

from swarm_wire.spec.schema import SELECTOR, Entrypoint, SpecModel, Union

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Effort = Literal["light", "medium", "heavy"]
Proposals = Annotated[int, Field(ge=1, le=100)]


class SameParentSampling(SpecModel):
    """GEPA makes several proposals from one candidate. Each proposal has training examples of its own."""

    proposals: Proposals = Field(description="Number of proposals in an iteration: GEPA's `n`.")


class IndependentSampling(SpecModel):
    """GEPA makes several proposals. It selects a candidate and training examples for each of them."""

    proposals: Proposals = Field(description="Number of proposals in an iteration: GEPA's `n`.")


class PxNSampling(SpecModel):
    """GEPA makes several proposals from each of several candidates."""

    parents: Proposals = Field(description="Number of candidates in an iteration that get proposals: GEPA's `p`.")
    proposals: Proposals = Field(description="Number of proposals for each of these candidates: GEPA's `n`.")


class Sampling(Union):
    """How many proposals GEPA makes at the same time in one iteration."""

    same_parent: SameParentSampling | None = None
    independent: IndependentSampling | None = None
    px_n: PxNSampling | None = None


class BestImprovement(SpecModel):
    """Only the proposal that improves most becomes a candidate."""


class TopKImprovements(SpecModel):
    """The proposals that improve most become candidates."""

    k: Proposals = Field(description="Number of proposals that become candidates.")


class Selection(Union):
    """Which of the accepted proposals of an iteration become candidates."""

    best_improvement: BestImprovement | None = None
    top_k_improvements: TopKImprovements | None = None


class GEPA(Union):
    """dspy.GEPA: instructions that the prompt model rewrites after it has reflected on runs and the metric's feedback.
    Exactly one budget is set. The metric takes (example, prediction, trace=None, pred_name=None, pred_trace=None)."""

    others = ("instruction_proposer", "code_proposer", "sampling_strategy", "selection_strategy")

    auto: Effort | None = Field(
        None, description="Budget, computed from the numbers of predictors and of validation examples."
    )
    max_full_evals: int | None = Field(
        None, ge=1, description="Budget, as a number of evaluations of the whole training and validation set."
    )
    max_metric_calls: int | None = Field(None, ge=1, description="Budget, as a number of evaluations of one example.")
    reflection_minibatch_size: int = Field(3, ge=1, description="Number of training examples of one reflection.")
    candidate_selection_strategy: Literal["pareto", "current_best", "epsilon_greedy", "top_k_pareto"] = Field(
        "pareto",
        description="Which candidate GEPA improves next. pareto: one that is best at some example. current_best: the "
        "best. epsilon_greedy: the best, but one time in ten any. top_k_pareto: of the five best, one "
        "that is best at some example.",
    )
    skip_perfect_score: bool = Field(True, description="Write no reflection if every example of it has perfectScore.")
    add_format_failure_as_feedback: bool = Field(
        False, description="Tell the prompt model about answers that could not be parsed."
    )
    instruction_proposer: Entrypoint | None = Field(
        None,
        description='"module:attribute" of an object that writes new instructions: a '
        "dspy.teleprompt.gepa.InstructionProposer, or a function (candidate, reflective_dataset, "
        "components_to_update) -> {predictor: instruction}. Default: DSPy's own.",
    )
    code_proposer: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a function that rewrites the code of a dspy.Flex: (candidate, '
        "reflective_dataset, components_to_update, task_descriptions, context_blurbs) -> {part: code}. "
        "Default: DSPy's own.",
    )
    component_selector: str = Field(
        "round_robin",
        pattern=SELECTOR,
        max_length=253,
        description='Which predictors GEPA rewrites at a time: round_robin, all, or "module:attribute" of a function '
        "(state, trajectories, subsample_scores, candidate_idx, candidate) -> [predictor].",
    )
    use_merge: bool = Field(True, description="Also merge two candidates that are good at different examples.")
    max_merge_invocations: int = Field(5, ge=0, description="Largest number of merges.")
    failure_score: float = Field(0.0, description="Score of an example that failed.")
    perfect_score: float = Field(1.0, description="Best score that the metric can give.")
    seed: Seed = Field(0, description="Seed of all random draws.")
    sampling_strategy: Sampling | None = Field(
        None,
        description="How GEPA makes several proposals in one iteration: sameParent, independent or pxN. Default: one "
        "proposal.",
    )
    selection_strategy: Selection | None = Field(
        None,
        description="Which of several accepted proposals become candidates: bestImprovement or topKImprovements. "
        "Default: all.",
    )
    acceptance_criterion: Literal["strict_improvement", "improvement_or_equal"] = Field(
        "strict_improvement",
        description="Which score on its training examples a proposal needs to be accepted: a better one than before, "
        "or also an equal one.",
    )
    frontier_type: Literal["instance", "objective", "hybrid", "cartesian"] = Field(
        "instance",
        description="For what a candidate can be the best. instance: an example. objective: one of the metric's "
        "objective_scores. hybrid: either of these. cartesian: an objective of an example.",
    )
    merge_val_overlap_floor: int = Field(
        5,
        ge=1,
        description="Two candidates can be merged only if at least this many validation examples were scored with "
        "both.",
    )
    cache_evaluation: bool = Field(
        False,
        description="If a candidate has a score on an example, GEPA does not count the example against the budget "
        "again.",
    )
