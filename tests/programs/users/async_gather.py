"""The program makes concurrent calls with `dspy.asyncify` and `asyncio.gather` within `forward`."""

import asyncio

import dspy


class Aspects(dspy.Module):
    def __init__(self):
        super().__init__()
        self.aspects = {name: dspy.Predict(f"review -> {name}: bool") for name in ("price", "taste", "speed")}
        self.verdict = dspy.Predict("review, aspects: dict[str, bool] -> stars: int")

    def forward(self, review):
        async def all_of_them():
            calls = [dspy.asyncify(predict)(review=review) for predict in self.aspects.values()]
            return await asyncio.gather(*calls)

        found = asyncio.run(all_of_them())
        aspects = {name: getattr(one, name) for name, one in zip(self.aspects, found)}
        return dspy.Prediction(stars=self.verdict(review=review, aspects=aspects).stars, aspects=aspects)


program = Aspects


def metric(example, pred, trace=None):
    return max(0.0, 1 - abs(example.stars - pred.stars) / 5) * (0.5 + 0.5 * pred.aspects["taste"])


def examples(first, count):
    return [
        dspy.Example(review=f"Soup {n} was fine", stars=n % 5).with_inputs("review")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
