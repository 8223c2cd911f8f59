"""The optimizers of the API. Their parameters have DSPy's own names (in camelCase) and defaults.

Parameters that mean nothing in dspy-swarm are left out. docs/optimizers.md lists these, and what each optimizer costs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from swarm_wire.spec.schema import SELECTOR, Entrypoint, Percentage, SpecModel, Union, one_or_both

Temperature = Annotated[float, Field(ge=0, le=2)]
Sharpness = Annotated[float, Field(ge=0.01, le=100)]
"""Temperature of a softmax over scores, which divides the scores."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Effort = Literal["light", "medium", "heavy"]


class LabeledFewShot(SpecModel):
    """dspy.LabeledFewShot: demonstrations drawn from the training set. It makes no LM calls."""

    k: int = Field(16, ge=0, description="Demonstrations for each predictor.")
    sample: bool = Field(True, description="Draw at random (a fixed seed), instead of taking the first k.")


class BootstrapFewShot(SpecModel):
    """dspy.BootstrapFewShot: demonstrations from those runs of the teacher that the metric accepts."""

    max_bootstrapped_demos: int = Field(4, ge=0, description="Most demonstrations made by the teacher.")
    max_labeled_demos: int = Field(16, ge=0, description="Most demonstrations in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end the compile. DSPy's default: 10.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")


class BootstrapFewShotWithRandomSearch(SpecModel):
    """dspy.BootstrapFewShotWithRandomSearch: the best of several candidates with bootstrapped demonstrations."""

    max_bootstrapped_demos: int = Field(4, ge=1, description="Most demonstrations made by the teacher.")
    max_labeled_demos: int = Field(16, ge=0, description="Most demonstrations in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    num_candidate_programs: int = Field(
        16, ge=0, le=1000, description="Shuffled candidates, besides zero-shot, labeled and unshuffled few-shot."
    )
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end the compile. DSPy's default: 10.")
    stop_at_score: Percentage | None = Field(None, description="Stop at the first candidate that scores so much.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")
    labeled_sample: bool = Field(True, description="Draw the labeled candidate's demonstrations at random.")

    @property
    def is_arg_max(self) -> bool:
        """Whether the winner is the first of the best candidates, and the optimizer uses scores for nothing else."""
        return self.stop_at_score is None


class BootstrapFewShotWithOptuna(SpecModel):
    """dspy.BootstrapFewShotWithOptuna: one bootstrapped demonstration for each predictor, chosen by Optuna. Stock DSPy
    gives Optuna's sampler no seed, so two compiles differ. dspy-swarm gives it a seed."""

    max_demos: int = Field(ge=1, le=1000, description="Most demonstrations made by the teacher, to choose from.")
    max_labeled_demos: int = Field(16, ge=0, description="Most to choose from in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    num_candidate_programs: int = Field(16, ge=1, le=1000, description="Choices that are scored, one after the other.")
    seed: Seed = Field(0, description="Of Optuna's TPESampler. Ours: stock has none.")


class InferRules(SpecModel):
    """dspy.InferRules: bootstrapped demonstrations, and rules that the teacher infers from the training set."""

    num_candidates: int = Field(10, ge=1, le=1000, description="Sets of rules, each scored on the validation set.")
    num_rules: int = Field(10, ge=1, le=1000, description="Rules for each predictor, as the model is asked.")
    max_bootstrapped_demos: int = Field(4, ge=0, description="Most demonstrations made by the teacher.")
    max_labeled_demos: int = Field(16, ge=0, description="Most demonstrations in all, filled up from the training set.")
    max_rounds: int = Field(1, ge=1, description="Attempts for each training example.")
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end the compile. DSPy's default: 10.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")

    @property
    def is_arg_max(self) -> bool:
        """Whether the winner is the first of the best candidates, and the optimizer uses scores for nothing else."""
        return True

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which stock DSPy scores candidates without a validation set: the training set's last
        half.
        """
        return train[int(0.5 * len(train)) :]


class COPRO(SpecModel):
    """dspy.COPRO: instructions that the prompt model proposes and improves depth by depth. They are scored on the
    training set."""

    breadth: int = Field(10, ge=2, le=1000, description="Instructions for each predictor and depth.")
    depth: int = Field(3, ge=1, le=1000, description="Times that better instructions are asked for.")
    init_temperature: Temperature = Field(1.4, description="Temperature of the proposals.")


class MIPROv2(SpecModel):
    """dspy.MIPROv2: instructions and demonstrations, combined by Bayesian optimization."""

    rules = (one_or_both("auto", "num_candidates", "num_trials"),)

    auto: Effort | None = Field(
        None,
        description="How much to spend: chooses candidates, trials, minibatch and how much of the validation set. "
        "Default: light, where numCandidates and numTrials are not set.",
    )
    num_candidates: int | None = Field(
        None, ge=1, le=1000, description="Sets of demonstrations, and instructions for each predictor. Instead of auto."
    )
    num_trials: int | None = Field(
        None, ge=1, le=10000, description="Combinations that are scored. Instead of auto, with numCandidates."
    )
    max_bootstrapped_demos: int = Field(
        4, ge=0, description="Most demonstrations made by the teacher. 0, with maxLabeledDemos 0: instructions only."
    )
    max_labeled_demos: int = Field(4, ge=0, description="Most demonstrations in all, filled up from the training set.")
    minibatch: bool = Field(
        True, description="Score combinations on samples of the validation set. With auto: where it has more than 50."
    )
    minibatch_size: int = Field(35, ge=1, description="Examples of such a sample.")
    minibatch_full_eval_steps: int = Field(
        5, ge=1, description="Trials after which the best combination is scored on the whole validation set."
    )
    program_aware_proposer: bool = Field(True, description="Show the program's code to the prompt model.")
    data_aware_proposer: bool = Field(True, description="Show a summary of the training set to the prompt model.")
    view_data_batch_size: int = Field(10, ge=1, description="Examples that the summary is made of at a time.")
    tip_aware_proposer: bool = Field(True, description="Give the prompt model one of several tips, at random.")
    fewshot_aware_proposer: bool = Field(True, description="Show demonstrations to the prompt model.")
    seed: Seed = Field(9, description="Of every random draw.")
    init_temperature: Temperature = Field(1.0, description="Temperature of the proposals.")
    max_errors: int | None = Field(None, ge=1, description="Failing examples that end a wave. DSPy's default: 10.")
    metric_threshold: float | None = Field(None, description="Score that a demonstration needs. Default: any but 0.")

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which stock DSPy scores candidates without a validation set.

        These are the last 80 % of the training set, but at most 1,000 examples.
        """
        return train[len(train) - min(1000, max(1, int(0.8 * len(train)))) :]


class SIMBA(SpecModel):
    """dspy.SIMBA: rules and demonstrations from the examples whose scores differ most. They are scored on the training
    set."""

    bsize: int = Field(32, ge=1, description="Training examples of a step; the training set needs as many.")
    num_candidates: int = Field(6, ge=1, le=1000, description="Samples of each example, and new programs of a step.")
    max_steps: int = Field(8, ge=1, le=1000, description="Steps.")
    max_demos: int = Field(4, ge=0, description="Demonstrations of a predictor before some are dropped. 0: rules only.")
    demo_input_field_maxlen: int = Field(
        100_000, ge=0, description="Most characters of an input in a demonstration. 0: no limit."
    )
    temperature_for_sampling: Sharpness = Field(0.2, description="The lower, the more the best programs are sampled.")
    temperature_for_candidates: Sharpness = Field(0.2, description="The lower, the more the best are built upon.")
    seed: Seed = Field(0, description="Of every random draw.")


Proposals = Annotated[int, Field(ge=1, le=100)]


class SameParentSampling(SpecModel):
    """Several proposals from one candidate. Each proposal has training examples of its own."""

    proposals: Proposals = Field(description="Proposals of an iteration: GEPA's `n`.")


class IndependentSampling(SpecModel):
    """Several proposals. GEPA selects a candidate and training examples for each of them."""

    proposals: Proposals = Field(description="Proposals of an iteration: GEPA's `n`.")


class PxNSampling(SpecModel):
    """Several proposals from each of several candidates."""

    parents: Proposals = Field(description="Candidates of an iteration: GEPA's `p`.")
    proposals: Proposals = Field(description="Proposals from each: GEPA's `n`.")


class Sampling(Union):
    """How many proposals GEPA makes at the same time in one iteration."""

    same_parent: SameParentSampling | None = None
    independent: IndependentSampling | None = None
    px_n: PxNSampling | None = None


class BestImprovement(SpecModel):
    """Only the proposal that improves most becomes a candidate."""


class TopKImprovements(SpecModel):
    """The proposals that improve most become candidates."""

    k: Proposals = Field(description="How many.")


class Selection(Union):
    """Which of the accepted proposals of an iteration become candidates."""

    best_improvement: BestImprovement | None = None
    top_k_improvements: TopKImprovements | None = None


class GEPA(Union):
    """dspy.GEPA: instructions that the prompt model rewrites after it has reflected on runs and the metric's feedback.
    Exactly one budget is set. The metric takes (example, prediction, trace=None, pred_name=None, pred_trace=None)."""

    others = ("instruction_proposer", "code_proposer", "sampling_strategy", "selection_strategy")

    auto: Effort | None = Field(None, description="Budget, from the number of predictors and validation examples.")
    max_full_evals: int | None = Field(None, ge=1, description="Budget: evaluations of training and validation set.")
    max_metric_calls: int | None = Field(None, ge=1, description="Budget: evaluations of one example.")
    reflection_minibatch_size: int = Field(3, ge=1, description="Training examples of one reflection.")
    candidate_selection_strategy: Literal["pareto", "current_best", "epsilon_greedy", "top_k_pareto"] = Field(
        "pareto",
        description="Which candidate is improved next: one that is best at some example; the best; the best, but one "
        "time in ten any; or one of the five best that is best at some example.",
    )
    skip_perfect_score: bool = Field(True, description="No reflection where every example has perfectScore.")
    add_format_failure_as_feedback: bool = Field(False, description="Tell of answers that could not be parsed.")
    instruction_proposer: Entrypoint | None = Field(
        None,
        description='"module:attribute" of what writes new instructions: a dspy.teleprompt.gepa.InstructionProposer, '
        "or a function (candidate, reflective_dataset, components_to_update) -> {predictor: instruction}. Default: "
        "DSPy's own.",
    )
    code_proposer: Entrypoint | None = Field(
        None,
        description='"module:attribute" of what rewrites the code of a dspy.Flex: a function (candidate, '
        "reflective_dataset, components_to_update, task_descriptions, context_blurbs) -> {part: code}. Default: "
        "DSPy's own.",
    )
    component_selector: str = Field(
        "round_robin",
        pattern=SELECTOR,
        max_length=253,
        description='Which predictors are rewritten at a time: round_robin, all, or "module:attribute" of a function '
        "(state, trajectories, subsample_scores, candidate_idx, candidate) -> [predictor].",
    )
    use_merge: bool = Field(True, description="Also merge candidates that are good at different examples.")
    max_merge_invocations: int = Field(5, ge=0, description="Most merges.")
    failure_score: float = Field(0.0, description="Score of an example that failed.")
    perfect_score: float = Field(1.0, description="The metric's best score.")
    seed: Seed = Field(0, description="Of every random draw.")
    sampling_strategy: Sampling | None = Field(
        None, description="Several proposals in one iteration: sameParent, independent or pxN. Default: one."
    )
    selection_strategy: Selection | None = Field(
        None,
        description="Which of them become candidates: bestImprovement or topKImprovements. Default: all that are "
        "accepted.",
    )
    acceptance_criterion: Literal["strict_improvement", "improvement_or_equal"] = Field(
        "strict_improvement", description="What a proposal must be on its training examples to be accepted."
    )
    frontier_type: Literal["instance", "objective", "hybrid", "cartesian"] = Field(
        "instance",
        description="At what a candidate can be the best: an example, one of the metric's objective_scores, either, or "
        "an objective of an example.",
    )
    merge_val_overlap_floor: int = Field(
        5, ge=1, description="Validation examples that two candidates must have in common to be merged."
    )
    cache_evaluation: bool = Field(
        False, description="An example that a candidate was scored on before does not count against the budget again."
    )


class ReAnchor(SpecModel):
    """dspy.experimental.ReAnchor, which DSPy has since 3.4: thresholds, cuts and weights of decision outputs (Noul,
    Score, Choice), fitted to the training set. The metric takes (example, prediction)."""

    require_cache: bool = Field(True, description="Refuse a program with a predictor whose answers are not cached.")


class Custom(SpecModel):
    """A function of your own, which may use any optimizers: (student, trainset, valset, metric) -> program. It must not
    draw random numbers without a seed, and must not read the time."""

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a function that takes student, trainset, valset and metric, and returns the '
        "compiled program. Where it also takes prompt_model or teacher_model, it gets these of spec.models."
    )


class Optimizer(Union):
    """The stock DSPy optimizer, with DSPy's parameter names (in camelCase) and defaults.

    Exactly one field must be set.
    """

    bootstrap_few_shot_with_random_search: BootstrapFewShotWithRandomSearch | None = None
    bootstrap_few_shot: BootstrapFewShot | None = None
    labeled_few_shot: LabeledFewShot | None = None
    miprov2: MIPROv2 | None = None
    gepa: GEPA | None = None
    simba: SIMBA | None = None
    copro: COPRO | None = None
    infer_rules: InferRules | None = None
    bootstrap_few_shot_with_optuna: BootstrapFewShotWithOptuna | None = None
    re_anchor: ReAnchor | None = None
    custom: Custom | None = None

    @property
    def is_arg_max(self) -> bool:
        """Whether the winner is the first of the best candidates, and the optimizer uses scores for nothing else."""
        return getattr(getattr(self, self.which), "is_arg_max", False)

    @property
    def scores_on_train(self) -> bool:
        """Whether the optimizer scores candidates on training examples, even if there is a validation set."""
        return self.copro is not None or self.simba is not None

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which the stock optimizer scores candidates without a validation set.

        These are all training examples, unless the optimizer learns from some of them only.
        """
        member = getattr(self, self.which)
        return member.scored_on(train) if hasattr(member, "scored_on") else train
