"""The metric calls an LLM judge, which has its own model by `judge.set_lm` at module level."""

import os

import dspy

large = dspy.LM("openai/judge", api_base=os.environ["PROVIDER"], api_key="none", temperature=0.0)


class Assess(dspy.Signature):
    """Assess the quality of a tweet along the specified dimension."""

    assessed_text: str = dspy.InputField()
    assessment_question: str = dspy.InputField()
    assessment_answer: bool = dspy.OutputField()


judge = dspy.Predict(Assess)
judge.set_lm(large)

program = dspy.ChainOfThought("question -> tweet")


def metric(gold, pred, trace=None):
    engaging = judge(assessed_text=pred.tweet, assessment_question="Is it engaging?").assessment_answer
    correct = judge(assessed_text=pred.tweet, assessment_question=f"Does it say {gold.answer}?").assessment_answer
    score = (correct + engaging) if correct and len(pred.tweet) <= 280 else 0
    return score >= 2 if trace is not None else score / 2.0


def feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return dspy.Prediction(score=metric(gold, pred), feedback=f"It should say {gold.answer}.")


def examples(first, count):
    return [
        dspy.Example(question=f"When does ferry {n} leave?", answer=f"{n % 24} o'clock").with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
