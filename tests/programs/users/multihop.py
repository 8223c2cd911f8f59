"""From the multi-hop tutorial: the program collects notes and titles in a loop. The metric is recall of titles."""

import random

import dspy

LIBRARY = {f"Ship {n}": f"Ship {n} was built at Yard {n % 5} and sold by Agent {n % 3}." for n in range(15)}


def search(query, k):
    words = query.lower().split()
    ranked = sorted(LIBRARY, key=lambda title: (-sum(word in LIBRARY[title].lower() for word in words), title))
    return {title: LIBRARY[title] for title in ranked[:k]}


class Hop(dspy.Module):
    def __init__(self, num_docs=3, num_hops=2):
        self.num_docs, self.num_hops = num_docs, num_hops
        self.generate_query = dspy.ChainOfThought("claim, notes -> query")
        self.append_notes = dspy.ChainOfThought("claim, notes, context -> new_notes: list[str], titles: list[str]")

    def forward(self, claim: str) -> list[str]:
        notes, titles = [], []
        for _ in range(self.num_hops):
            query = self.generate_query(claim=claim, notes=notes).query
            context = search(query, k=self.num_docs)
            prediction = self.append_notes(claim=claim, notes=notes, context=context)
            notes.extend(prediction.new_notes)
            titles.extend(context)
        return dspy.Prediction(notes=notes, titles=list(set(titles)))


program = Hop


def metric(example, pred, trace=None):
    recall = sum(title in pred.titles for title in example.titles) / len(example.titles)
    return recall >= 1.0 if trace is not None else recall


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    missing = sorted(set(example.titles) - set(pred.titles))
    return dspy.Prediction(score=metric(example, pred), feedback=f"These titles are missing: {missing}")


def data():
    rows = [
        dspy.Example(
            claim=f"Agent {n % 3} sold what Yard {n % 5} built in {1900 + n}.",
            titles=[f"Ship {n % 15}", f"Ship {(n + 5) % 15}"],
        )
        for n in range(24)
    ]
    rows = [row.with_inputs("claim") for row in rows]
    random.Random(0).shuffle(rows)
    return rows


def train():
    return data()[:9]


def validation():
    return data()[9:]
