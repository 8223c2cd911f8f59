"""From the customer service tutorial: the tools change a database at module level and draw confirmation numbers."""

import random
import string

import dspy
from pydantic import BaseModel


class Booking(BaseModel):
    number: str
    berth: int


bookings = {}


def _generate_id(length=6):
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))


def book_berth(berth: str):
    """Book a berth for a ship."""
    number = _generate_id()
    bookings[number] = Booking(number=number, berth=len(bookings))
    return number, bookings[number]


def count_bookings():
    """How many berths are booked?"""
    return len(bookings)


class Service(dspy.Signature):
    """You book berths. Use the tools to fulfil the request."""

    user_request: str = dspy.InputField()
    process_result: str = dspy.OutputField(desc="what was done, with the confirmation number")


program = dspy.ReAct(Service, tools=[book_berth, count_bookings], max_iters=3)


def metric(example, pred, trace=None):
    return any(word in pred.process_result for word in ("berth", "booked", str(example.n)))


def examples(first, count):
    return [
        dspy.Example(user_request=f"Please book a berth for yacht {n}", n=n).with_inputs("user_request")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
