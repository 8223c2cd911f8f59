"""The program calls a predictor by `dspy.streamify`, and waits for the last result of the stream."""

import asyncio

import dspy


class Streams(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        stream = dspy.streamify(self.answer)

        async def last():
            async for chunk in stream(question=question):
                if isinstance(chunk, dspy.Prediction):
                    found = chunk
            return found

        return asyncio.run(last())


program = Streams


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"what blocks canal {n}", word=("blocks", "canal")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
