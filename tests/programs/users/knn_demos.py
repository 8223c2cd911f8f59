"""The program uses `dspy.KNN` to show the nearest training examples as demonstrations of each call."""

import hashlib

import dspy


def embed(texts):
    return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:8]] for text in texts]


def examples(first, count):
    return [
        dspy.Example(text=f"sail {n} torn", label=("sail", "torn", str(n))[n % 3]).with_inputs("text")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 9)


def validation():
    return examples(20, 12)


class Nearest(dspy.Module):
    def __init__(self):
        super().__init__()
        self.knn = dspy.KNN(k=2, trainset=train(), vectorizer=dspy.Embedder(embed))
        self.label = dspy.Predict("text -> label")

    def forward(self, text):
        return self.label(text=text, demos=[*self.label.demos, *self.knn(text=text)])


program = Nearest


def metric(example, pred, trace=None):
    return example.label in pred.label


def few_shot(student, trainset, valset, metric):
    """Compiles by KNNFewShot. The program that it returns runs a bootstrap in each call."""
    knn = dspy.KNNFewShot(
        k=3, trainset=trainset, vectorizer=dspy.Embedder(embed), metric=metric, max_bootstrapped_demos=1
    )
    compiled = knn.compile(student=student)
    score = dspy.Evaluate(devset=valset[:6], metric=metric)(compiled).score
    winner = dspy.LabeledFewShot(k=2).compile(student, trainset=trainset)
    winner.label.signature = winner.label.signature.with_instructions(f"Neighbours came to {score}.")
    return winner
