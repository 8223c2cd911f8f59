"""`dspy.Parallel` within a program, and `Module.batch` within a metric."""

import dspy


class Pages(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summarize = dspy.ChainOfThought("page -> summary")
        self.join = dspy.Predict("summaries: list[str] -> title")

    def forward(self, pages):
        parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        found = parallel([(self.summarize, dspy.Example(page=page).with_inputs("page")) for page in pages])
        return self.join(summaries=[one.summary for one in found])


program = Pages
judge = dspy.Predict("title, question -> fits: bool")


def metric(example, pred, trace=None):
    asked = [
        dspy.Example(title=pred.title, question=q).with_inputs("title", "question")
        for q in ("Is it short?", "Is it true?")
    ]
    votes = [found.fits for found in judge.batch(asked, num_threads=2, disable_progress_bar=True)]
    return all(votes) if trace is not None else sum(votes) / 2


def examples(first, count):
    return [
        dspy.Example(pages=[f"Log {n}: wind {n % 9}", f"Log {n}: fog", "All well."]).with_inputs("pages")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 9)
