"""From DSPy's page on tools: the input is a list of tools, the output is tool calls, and the program executes them."""

import dspy


def weather(city: str) -> str:
    """Get weather information for a city."""
    return f"The weather in {city} is sunny"


def calculator(expression: str) -> str:
    """Evaluate an expression."""
    return str(sum(ord(sign) for sign in expression) % 10)


class Pick(dspy.Signature):
    """Call the tools that answer the question."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    outputs: dspy.ToolCalls = dspy.OutputField()


class ByHand(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tools = {"weather": dspy.Tool(weather), "calculator": dspy.Tool(calculator)}
        self.pick = dspy.Predict(Pick)
        self.answer = dspy.Predict("question, results: list[str] -> answer")

    def forward(self, question):
        calls = self.pick(question=question, tools=list(self.tools.values())).outputs.tool_calls
        results = []
        for call in calls:
            try:
                results.append(str(call.execute(functions=self.tools)))
            except Exception as error:
                results.append(f"failed: {type(error).__name__}")
        return self.answer(question=question, results=results)


program = ByHand


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"Is harbour {n} sunny today?", word=("sunny", "harbour", str(n))[n % 3]).with_inputs(
            "question"
        )
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
