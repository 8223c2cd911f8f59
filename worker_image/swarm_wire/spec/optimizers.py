"""The optimizers of the API. Their parameters have DSPy's own names (in camelCase) and defaults.

Parameters that mean nothing in dspy-swarm are left out. docs/optimizers.md lists these, and what each optimizer costs.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.gepa import GEPA, Effort, Seed
from swarm_wire.spec.schema import STRATEGY, Entrypoint, Percentage, SpecModel, Union, one_or_both

Temperature = Annotated[float, Field(ge=0, le=2)]
Sharpness = Annotated[float, Field(ge=0.01, le=100)]
"""Temperature of a softmax over scores. The softmax divides the scores by it."""


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


class ReAnchor(SpecModel):
    """dspy.experimental.ReAnchor, which DSPy has since 3.4: thresholds, cuts and weights of decision outputs (Noul,
    Score, Choice), fitted to the training set. The metric takes (example, prediction)."""

    require_cache: bool = Field(
        True, description="Refuse a program if the answers of one of its predictors are not cached."
    )


NO_STEP: Final = {
    "inferRules": "the tuned model would write the rules, and those of one candidate reach the programs of all steps",
    "reAnchor": "it fits outputs for decisions, of which DSPy makes no training rows",
    "bootstrapFinetune": "it is w. Write its fields there",
    "betterTogether": "write the steps of both into one strategy",
    "custom": "it may do anything with the tuned model",
}
"""Why an optimizer cannot be the p of betterTogether."""


class PromptOptimizer(Union):
    """A prompt optimizer, as in spec.optimizer. Exactly one field must be set."""

    bootstrap_few_shot_with_random_search: BootstrapFewShotWithRandomSearch | None = None
    bootstrap_few_shot: BootstrapFewShot | None = None
    labeled_few_shot: LabeledFewShot | None = None
    miprov2: MIPROv2 | None = None
    gepa: GEPA | None = None
    simba: SIMBA | None = None
    copro: COPRO | None = None
    bootstrap_few_shot_with_optuna: BootstrapFewShotWithOptuna | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_a_step(cls, given: Any) -> Any:
        for name in NO_STEP.keys() & (given if isinstance(given, dict) else {}):
            raise ValueError(f"{name} cannot be p of betterTogether: {NO_STEP[name]}")
        return given


class BetterTogether(SpecModel):
    """dspy.BetterTogether: improves prompts and fine-tunes in turn, and returns the program of the step that scores
    best. It needs spec.finetune.
    """

    strategy: str = Field(
        "p -> w -> p",
        pattern=STRATEGY,
        max_length=60,
        description='The steps, such as "p -> w -> p": p improves the prompts, w fine-tunes.',
    )
    p: PromptOptimizer = Field(
        default_factory=lambda: PromptOptimizer.model_validate({"bootstrapFewShotWithRandomSearch": {}}),
        description="The prompt optimizer. Default, as in DSPy: bootstrapFewShotWithRandomSearch.",
    )
    w: BootstrapFinetune = Field(default_factory=BootstrapFinetune, description="The fields of bootstrapFinetune.")
    seed: Seed = Field(0, description="Seed of the shuffling. Stock DSPy sets no seed.")
    valset_ratio: float = Field(
        0.1,
        ge=0,
        le=0.99,
        description="Without data.validation, the share of the training examples, from the first one on, that score "
        "the steps instead. 0: no step is scored, and the last program wins.",
    )
    shuffle_trainset_between_steps: bool = Field(True, description="Shuffle the training examples before each step.")
    max_errors: int | None = Field(
        None, ge=1, description="Number of failing examples with which a step scores 0. DSPy's default: 10."
    )

    def scored_on(self, train: Sequence[Any]) -> Sequence[Any]:
        """Returns the examples on which stock DSPy scores the steps without a validation set; all if it scores none."""
        return train[: int(self.valset_ratio * len(train))] or train


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
    bootstrap_finetune: BootstrapFinetune | None = None
    better_together: BetterTogether | None = None
    custom: Custom | None = None

    @property
    def is_arg_max(self) -> bool:
        """Whether the optimizer uses scores only to pick the winner, the first of the best candidates."""
        return getattr(getattr(self, self.which), "is_arg_max", False)

    @property
    def rows(self) -> BootstrapFinetune | None:
        """Returns what the optimizer's fine-tunes have for training rows; None if it tunes nothing."""
        return self.better_together.w if self.better_together is not None else self.bootstrap_finetune

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
