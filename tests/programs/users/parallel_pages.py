"""The program uses `dspy.Parallel` over a predictor for each aspect, and the metric uses `Module.batch`."""

import dspy


class Pages(dspy.Module):
    def __init__(self):
        super().__init__()
        self.aspects = [dspy.ChainOfThought(f"page -> {aspect}") for aspect in ("who", "what", "where")]
        self.join = dspy.Predict("notes: list[str] -> title")

    def forward(self, page):
        parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        example = dspy.Example(page=page).with_inputs("page")
        who, what, where = parallel([(aspect, example) for aspect in self.aspects])
        return self.join(notes=[who.who, what.what, where.where])


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
        dspy.Example(page=f"Log {n}: wind {n % 9}, fog at dawn").with_inputs("page")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 9)
