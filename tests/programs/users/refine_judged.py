"""From the tutorial on refinement: `dspy.Refine` improves a module of two predictors, with a judge as the reward."""

import dspy


class Factuality(dspy.Signature):
    """Determine if a statement is factually accurate."""

    statement: str = dspy.InputField()
    is_factual: bool = dspy.OutputField()


judge = dspy.ChainOfThought(Factuality)


def factuality_reward(args, pred):
    return 1.0 if judge(statement=pred.answer).is_factual else 0.0


class Guide(dspy.Module):
    def __init__(self):
        super().__init__()
        self.facts = dspy.Predict("question -> facts: list[str]")
        self.answer = dspy.Predict("question, facts -> answer")

    def forward(self, question):
        return self.answer(question=question, facts=self.facts(question=question).facts)


def program():
    return dspy.Refine(module=Guide(), N=2, reward_fn=factuality_reward, threshold=1.0)


def metric(example, pred, trace=None):
    return len(pred.answer) % 4 == example.n % 4


def examples(first, count):
    return [
        dspy.Example(question=f"Which lighthouse stands at mile {n}?", n=n).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 10)
