"""The optimizer makes an ensemble of the best candidates of a random search, which vote with `dspy.majority`."""

import dspy


class Guess(dspy.Module):
    def __init__(self):
        super().__init__()
        self.guess = dspy.Predict("ship -> flag")

    def forward(self, ship):
        return self.guess(ship=ship)


program = Guess


def metric(example, pred, trace=None):
    return example.flag in pred.flag


def vote(student, trainset, valset, metric):
    search = dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=1, max_labeled_demos=2, num_candidate_programs=2
    )
    best = search.compile(student, trainset=trainset, valset=valset)
    programs = [candidate["program"] for candidate in best.candidate_programs]
    return dspy.Ensemble(reduce_fn=dspy.majority).compile(programs[:3])


def examples(first, count):
    return [
        dspy.Example(ship=f"Maria {n} red", flag=("Maria", "red")[n % 2]).with_inputs("ship")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
