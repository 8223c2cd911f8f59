"""From the agents tutorial: ReAct has lookup tools that sometimes fail, and the metric reads the trajectory."""

import dspy

TIDES = {"north": 3, "south": 5, "east": 2}
DOCS = {}


def tide(gate: str) -> int:
    """The height of the tide at a gate, in metres."""
    DOCS[gate] = DOCS.get(gate, f"Gate {gate} stands at {TIDES.get(gate, 4)} metres.")
    return TIDES[gate] if gate in TIDES else len(DOCS[gate])


def ship_length(name: str) -> str:
    """The length of a ship."""
    if len(name) > 8:
        raise ValueError(f"no ship is called {name}")
    return f"{10 * len(name)} metres"


class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.react = dspy.ReAct(
            "question -> answer: str, sure: bool", tools=[tide, dspy.Tool(ship_length, name="length")], max_iters=3
        )

    def forward(self, question):
        return self.react(question=question)


program = Agent


def metric(example, pred, trace=None):
    used = {value for key, value in pred.trajectory.items() if key.startswith("tool_name")}
    return (example.tool in used) * 0.7 + 0.3 * bool(pred.sure)


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    return dspy.Prediction(
        score=metric(example, pred), feedback=f"The tool {example.tool} helps; steps: {sorted(pred.trajectory)}"
    )


def examples(first, count):
    return [
        dspy.Example(question=f"Can ship {n} pass the gate?", tool=("tide", "length")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
