"""The program has attributes that cannot be pickled: a database connection, a lock and an open file."""

import sqlite3
import threading
from pathlib import Path

import dspy


class Store:
    def __init__(self):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        self.db.execute("create table tugs (name text, power int)")
        self.db.executemany("insert into tugs values (?, ?)", [(f"tug{n}", n * 100) for n in range(9)])

    def power(self, name):
        with self.lock:
            row = self.db.execute("select power from tugs where name = ?", (name,)).fetchone()
        return row[0] if row else 0


class Tugs(dspy.Module):
    def __init__(self):
        super().__init__()
        self.store = Store()
        self.source = Path(__file__).open()
        self.answer = dspy.Predict("tug, power: int -> strong: bool")

    def forward(self, tug):
        return self.answer(tug=tug, power=self.store.power(tug))


program = Tugs


def metric(example, pred, trace=None):
    return pred.strong == example.strong


def examples(first, count):
    return [dspy.Example(tug=f"tug{n % 9}", strong=n % 9 > 4).with_inputs("tug") for n in range(first, first + count)]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 9)
