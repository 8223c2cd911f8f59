"""From the chat tutorial: an input is a `dspy.History`, which grows with every message of a conversation."""

import dspy


class QA(dspy.Signature):
    """Answer the last question of a conversation."""

    question: str = dspy.InputField()
    history: dspy.History = dspy.InputField()
    answer: str = dspy.OutputField()


class Chat(dspy.Module):
    def __init__(self):
        self.predict = dspy.Predict(QA)

    def forward(self, questions, history):
        history = dspy.History(messages=list(history.messages))
        for question in questions:
            outputs = self.predict(question=question, history=history)
            history.messages.append({"question": question, **outputs})
        return dspy.Prediction(answer=outputs.answer, history=history)


program = Chat


def metric(example, pred, trace=None):
    return len(pred.answer.split()) == example.words and len(pred.history.messages) >= 2


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    turns = len(pred.history.messages)
    return dspy.Prediction(score=float(metric(example, pred)), feedback=f"{example.words} words after {turns} turns.")


def examples(first, count):
    before = dspy.History(messages=[{"question": "Is the lock open?", "answer": "Yes, since dawn."}])
    return [
        dspy.Example(
            questions=[f"Who waits at lock {n}?", "And after that?"], history=before, words=1 + n % 3
        ).with_inputs("questions", "history")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
