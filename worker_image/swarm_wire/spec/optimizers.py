"""The optimizers of the API. Their parameters have DSPy's own names (in camelCase) and defaults.

Parameters that mean nothing in dspy-swarm are left out. docs/optimizers.md lists these, and what each optimizer costs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from swarm_wire.spec.schema import SELECTOR, Entrypoint, Percentage, SpecModel, Union, one_or_both

Temperature = Annotated[float, Field(ge=0, le=2)]
Sharpness = Annotated[float, Field(ge=0.01, le=100)]
"""Temperature of a softmax over scores. The softmax divides the scores by it."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Effort = Literal["light", "medium", "heavy"]


class LabeledFewShot(SpecModel):
    """dspy.LabeledFewShot: demonstrations drawn from the training set. It makes no LM calls."""

    k: int = Field(16, ge=0, description="Number of demonstrations for each predictor.")
    sample: bool = Field(
        True, description="true: draw the demonstrations at random, with a fixed seed. false: take the first k."
    )


class BootstrapFewShot(SpecModel):
    """dspy.BootstrapFewShot: demonstrations from those runs of the teacher that the metric accepts."""

    max_bootstrapped_demos: int = Field(4, ge=0, description="Largest number of demonstrations that the teacher makes.")
    max_labeled_demos: int = Field(
        16,
        ge=0,
        description="Largest number of demonstrations in all. Training examples fill up those that the teacher makes.",
    )
    max_rounds: int = Field(1, ge=1, description="Number of the teacher's attempts at each training example.")
    max_errors: int | None = Field(
        None, ge=1, description="Number of failing examples that ends the compile. DSPy's default: 10."
    )
    metric_threshold: float | None = Field(
        None, description="Lowest score of a demonstration. Default: any score but 0."
    )


class BootstrapFewShotWithRandomSearch(SpecModel):
    """dspy.BootstrapFewShotWithRandomSearch: the best of several candidates with bootstrapped demonstrations."""

    max_bootstrapped_demos: int = Field(4, ge=1, description="Largest number of demonstrations that the teacher makes.")
    max_labeled_demos: int = Field(
        16,
        ge=0,
        description="Largest number of demonstrations in all. Training examples fill up those that the teacher makes.",
    )
    max_rounds: int = Field(1, ge=1, description="Number of the teacher's attempts at each training example.")
    num_candidate_programs: int = Field(
        16,
        ge=0,
        le=1000,
        description="Number of shuffled candidates. Stock DSPy adds three others: zero-shot, labeled and unshuffled "
        "few-shot.",
    )
    max_errors: int | None = Field(
        None, ge=1, description="Number of failing examples that ends the compile. DSPy's default: 10."
    )
    stop_at_score: Percentage | None = Field(
        None, description="The search stops at the first candidate with this percentage or more."
    )
    metric_threshold: float | None = Field(
        None, description="Lowest score of a demonstration. Default: any score but 0."
    )
    labeled_sample: bool = Field(True, description="Draw the demonstrations of the labeled candidate at random.")

    @property
    def is_arg_max(self) -> bool:
        """Whether the optimizer uses scores only to pick the winner, the first of the best candidates."""
        return self.stop_at_score is None


class BootstrapFewShotWithOptuna(SpecModel):
    """dspy.BootstrapFewShotWithOptuna: one bootstrapped demonstration for each predictor, chosen by Optuna. Stock DSPy
    gives Optuna's sampler no seed, so two compiles differ. dspy-swarm gives it a seed."""

    max_demos: int = Field(
        ge=1, le=1000, description="Largest number of demonstrations that the teacher makes. Optuna chooses among them."
    )
    max_labeled_demos: int = Field(
        16,
        ge=0,
        description="Largest number of demonstrations to choose from. Training examples fill up those that the "
        "teacher makes.",
    )
    max_rounds: int = Field(1, ge=1, description="Number of the teacher's attempts at each training example.")
    num_candidate_programs: int = Field(
        16, ge=1, le=1000, description="Number of choices of demonstrations that Optuna scores, one after the other."
    )
    seed: Seed = Field(0, description="Seed of Optuna's TPESampler. Stock DSPy sets no seed.")


class InferRules(SpecModel):
    """dspy.InferRules: bootstrapped demonstrations, and rules that the teacher infers from the training set."""

    num_candidates: int = Field(
        10,
        ge=1,
        le=1000,
        description="Number of candidates, each with its own rules, that are scored on the validation set.",
    )
    num_rules: int = Field(
        10, ge=1, le=1000, description="Number of rules for each predictor that the model is asked to write."
    )
    max_bootstrapped_demos: int = Field(4, ge=0, description="Largest number of demonstrations that the teacher makes.")
    max_labeled_demos: int = Field(
        16,
        ge=0,
        description="Largest number of demonstrations in all. Training examples fill up those that the teacher makes.",
    )
    max_rounds: int = Field(1, ge=1, description="Number of the teacher's attempts at each training example.")
    max_errors: int | None = Field(
        None, ge=1, description="Number of failing examples that ends the compile. DSPy's default: 10."
    )
    metric_threshold: float | None = Field(
        None, description="Lowest score of a demonstration. Default: any score but 0."
    )

    @property
    def is_arg_max(self) -> bool:
        """Whether the optimizer uses scores only to pick the winner, the first of the best candidates."""
        return True

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which stock DSPy scores candidates without a validation set: the training set's last
        half.
        """
        return train[int(0.5 * len(train)) :]


class COPRO(SpecModel):
    """dspy.COPRO: instructions that the prompt model proposes and improves depth by depth. They are scored on the
    training set."""

    breadth: int = Field(10, ge=2, le=1000, description="Number of instructions for each predictor at each depth.")
    depth: int = Field(3, ge=1, le=1000, description="How many times COPRO asks for better instructions.")
    init_temperature: Temperature = Field(1.4, description="Temperature of the requests for instructions.")


class MIPROv2(SpecModel):
    """dspy.MIPROv2: instructions and demonstrations, combined by Bayesian optimization."""

    rules = (one_or_both("auto", "num_candidates", "num_trials"),)

    auto: Effort | None = Field(
        None,
        description="How much to spend. It decides the candidates, the trials, minibatch, and how much of the "
        "validation set is used. Default: light, if numCandidates and numTrials are not set.",
    )
    num_candidates: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Number of sets of demonstrations, and of instructions for each predictor. Set it together with "
        "numTrials, in place of auto.",
    )
    num_trials: int | None = Field(
        None,
        ge=1,
        le=10000,
        description="Number of combinations that are scored. Set it together with numCandidates, in place of auto.",
    )
    max_bootstrapped_demos: int = Field(
        4,
        ge=0,
        description="Largest number of demonstrations that the teacher makes. If this and maxLabeledDemos are 0, only "
        "instructions are optimized.",
    )
    max_labeled_demos: int = Field(
        4,
        ge=0,
        description="Largest number of demonstrations in all. Training examples fill up those that the teacher makes.",
    )
    minibatch: bool = Field(
        True,
        description="Score combinations on samples of the validation set. If auto is set, samples are used if the "
        "validation set has more than 50 examples.",
    )
    minibatch_size: int = Field(35, ge=1, description="Number of examples of one sample.")
    minibatch_full_eval_steps: int = Field(
        5, ge=1, description="Number of trials after which the best combination is scored on the whole validation set."
    )
    program_aware_proposer: bool = Field(True, description="Show the program's code to the prompt model.")
    data_aware_proposer: bool = Field(True, description="Show a summary of the training set to the prompt model.")
    view_data_batch_size: int = Field(
        10, ge=1, description="Number of training examples in each request for the summary."
    )
    tip_aware_proposer: bool = Field(True, description="Give the prompt model one of several tips, chosen at random.")
    fewshot_aware_proposer: bool = Field(True, description="Show demonstrations to the prompt model.")
    seed: Seed = Field(9, description="Seed of all random draws.")
    init_temperature: Temperature = Field(1.0, description="Temperature of the requests for instructions.")
    max_errors: int | None = Field(
        None, ge=1, description="Number of failing examples that ends a wave. DSPy's default: 10."
    )
    metric_threshold: float | None = Field(
        None, description="Lowest score of a demonstration. Default: any score but 0."
    )

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which stock DSPy scores candidates without a validation set.

        These are the last 80 % of the training set, but at most 1,000 examples.
        """
        return train[len(train) - min(1000, max(1, int(0.8 * len(train)))) :]


class SIMBA(SpecModel):
    """dspy.SIMBA: rules and demonstrations from the examples whose scores differ most. They are scored on the training
    set."""

    bsize: int = Field(
        32, ge=1, description="Number of training examples of a step. The training set must have at least as many."
    )
    num_candidates: int = Field(
        6,
        ge=1,
        le=1000,
        description="Number of samples of each example in a step, and number of new programs of a step.",
    )
    max_steps: int = Field(8, ge=1, le=1000, description="Number of steps.")
    max_demos: int = Field(
        4,
        ge=0,
        description="If a predictor has this number of demonstrations, SIMBA may drop some. 0: SIMBA adds only rules.",
    )
    demo_input_field_maxlen: int = Field(
        100_000, ge=0, description="Largest number of characters of an input in a demonstration. 0: no limit."
    )
    temperature_for_sampling: Sharpness = Field(
        0.2, description="With a lower value, SIMBA samples more often from the best programs."
    )
    temperature_for_candidates: Sharpness = Field(
        0.2, description="With a lower value, SIMBA builds new programs more often from the best programs."
    )
    seed: Seed = Field(0, description="Seed of all random draws.")


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


class ReAnchor(SpecModel):
    """dspy.experimental.ReAnchor, which DSPy has since 3.4: thresholds, cuts and weights of decision outputs (Noul,
    Score, Choice), fitted to the training set. The metric takes (example, prediction)."""

    require_cache: bool = Field(
        True, description="Refuse a program if the answers of one of its predictors are not cached."
    )


class Custom(SpecModel):
    """A function of your own, which may use any optimizers: (student, trainset, valset, metric) -> program.

    It must seed its random numbers, and must not read the time.
    """

    entrypoint: Entrypoint = Field(
        description='"module:attribute" of a function that takes student, trainset, valset and metric, and returns '
        "the compiled program. If it has parameters prompt_model or teacher_model, it also gets these "
        "models of spec.models."
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
        """Whether the optimizer uses scores only to pick the winner, the first of the best candidates."""
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
