"""The user's own retriever class uses a database connection and a lock at module level."""

import sqlite3
import threading

import dspy

connection = sqlite3.connect(":memory:", check_same_thread=False)
connection.execute("create table pages (title text, body text)")
connection.executemany(
    "insert into pages values (?, ?)", [(f"Lock {n}", f"Lock {n} lifts {n + 2} metres.") for n in range(8)]
)
lock = threading.Lock()


class Pages:
    def __init__(self, k=2):
        self.k = k

    def __call__(self, query, k=None):
        with lock:
            rows = connection.execute(
                "select body from pages order by instr(?, title) desc, title limit ?", (query, k or self.k)
            )
            return dspy.Prediction(passages=[body for (body,) in rows])


class Locks(dspy.Module):
    def __init__(self):
        super().__init__()
        self.retrieve = Pages(k=2)
        self.answer = dspy.Predict("context: list[str], question -> metres: int")

    def forward(self, question):
        return self.answer(context=self.retrieve(question).passages, question=question)


program = Locks


def metric(example, pred, trace=None):
    return pred.metres == example.metres


def examples(first, count):
    return [
        dspy.Example(question=f"How far lifts Lock {n % 8} boat {n}?", metres=2 + n % 8).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 16)
