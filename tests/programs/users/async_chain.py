"""From the async tutorial: the program has `aforward` and an async tool, and `dspy.syncify` makes it synchronous."""

import asyncio

import dspy

dspy.configure(allow_tool_async_sync_conversion=True, async_max_workers=4)


async def lookup(word: str) -> str:
    """Look a word up."""
    await asyncio.sleep(0)
    return f"{word} means {word[::-1]}"


class Chain(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tool = dspy.Tool(lookup)
        self.predict1 = dspy.ChainOfThought("question, hint -> answer")
        self.predict2 = dspy.Predict("answer -> simplified_answer")

    async def aforward(self, question, hint, **kwargs):
        answer = await self.predict1.acall(question=question, hint=hint)
        more = await self.tool.acall(word=answer.answer.split()[0])
        return await self.predict2.acall(answer=f"{answer.answer} ({more})")


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.tool = dspy.Tool(lookup)
        self.chain = dspy.syncify(Chain())

    def forward(self, question):
        return self.chain(question=question, hint=self.tool(word=question.split()[-1]))


program = Program


def metric(example, pred, trace=None):
    return len(pred.simplified_answer) % 3 == example.n % 3


def examples(first, count):
    return [
        dspy.Example(question=f"What is a bollard {n}", n=n).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
