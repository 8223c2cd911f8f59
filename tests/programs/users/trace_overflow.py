"""The program reads the trace that all examples share, which DSPy cuts at a configured length.

Once the trace is full, the program finds none of its calls in it, so its result depends on earlier examples.
"""

import dspy

dspy.configure(max_trace_size=50)


class Reads(dspy.Module):
    def __init__(self):
        super().__init__()
        self.step = dspy.Predict("question, before: list[str] -> thought, done: bool")
        self.answer = dspy.Predict("question, thoughts: list[str] -> answer")

    def forward(self, question):
        begin = len(dspy.settings.trace or [])
        for _ in range(3):
            trace = (dspy.settings.trace or [])[begin:]
            found = self.step(question=question, before=[prediction.thought for _, _, prediction in trace])
            if found.done:
                break
        thoughts = [prediction.thought for _, _, prediction in (dspy.settings.trace or [])[begin:]]
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
