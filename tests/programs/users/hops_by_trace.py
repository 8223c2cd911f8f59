"""From DSPy's page on metrics: the metric reads the trace, in which no query may be long or occur twice."""

import dspy


class Simplified(dspy.Module):
    def __init__(self):
        super().__init__()
        self.generate_query = [dspy.ChainOfThought("context, question -> query") for _ in range(2)]
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        context = []
        for hop in self.generate_query:
            query = hop(context=context, question=question).query
            context = list(dict.fromkeys([*context, f"About {query}: see {query.split()[0]}."]))
        return self.generate_answer(context=context, question=question)


program = Simplified


def metric(example, pred, trace=None):
    right = example.answer.lower() in pred.answer.lower()
    if trace is None:
        return right
    hops = [example.question] + [outputs.query for *_, outputs in trace if "query" in outputs]
    if max(len(hop) for hop in hops) > 60 or len(set(hops)) < len(hops):
        return False
    return right


def examples(first, count):
    return [
        dspy.Example(question=f"who owns tug number {n}", answer=["tug", "owns", str(n)][n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 12)


def validation():
    return examples(40, 12)
