"""`dspy.ReActV2` calls tools natively: the request has functions, and the answer has tool calls."""

import dspy


def draught(ship: str, loaded: bool = True) -> str:
    """How deep a ship lies."""
    return f"{ship} draws {6 if loaded else 4} metres"


def depth(berth: str) -> str:
    """How deep a berth is."""
    return f"{berth} has {len(berth)} metres"


dspy.configure(adapter=dspy.ChatAdapter(use_native_function_calling=True))


class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.agent = dspy.ReActV2("question -> answer", tools=[draught, depth], max_iters=3)

    def forward(self, question):
        return self.agent(question=question)


program = Agent


def metric(example, pred, trace=None):
    return (len(str(pred.answer)) % 2 == example.n % 2) * 0.5 + 0.5 * (pred.termination_reason == "submit")


def examples(first, count):
    return [
        dspy.Example(question=f"May ship {n} lie at berth {n % 4}?", n=n).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
