"""The program reads its earlier calls in its own trace and passes them on, as `dspy.BestOfN` does."""

import dspy

dspy.configure(max_trace_size=50)


class Reads(dspy.Module):
    def __init__(self):
        super().__init__()
        self.step = dspy.Predict("question, before: list[str] -> thought, done: bool")
        self.answer = dspy.Predict("question, thoughts: list[str] -> answer")

    def forward(self, question):
        with dspy.context(trace=[]):
            for _ in range(3):
                before = [prediction.thought for _, _, prediction in dspy.settings.trace]
                if self.step(question=question, before=before).done:
                    break
            trace = list(dspy.settings.trace)
        if dspy.settings.trace is not None:
            dspy.settings.trace.extend(trace)
        thoughts = [prediction.thought for _, _, prediction in trace]
        return dspy.Prediction(answer=self.answer(question=question, thoughts=thoughts).answer, steps=len(thoughts))


program = Reads


def metric(example, pred, trace=None):
    return (example.word in pred.answer) * 0.5 + 0.25 * min(2, pred.steps)


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    seen = len(trace or []), len(pred_trace or [])
    return dspy.Prediction(score=metric(example, pred), feedback=f"{seen[0]} calls, {seen[1]} of {pred_name}")


def examples(first, count):
    return [
        dspy.Example(question=f"how does winch {n} turn", word=("winch", "turn", "does")[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
