"""The user's own model class (`dspy.BaseLM`) answers one predictor by rules. The student answers the other."""

from types import SimpleNamespace

import dspy


class RuleLM(dspy.BaseLM):
    def __init__(self, model="rules", *, loud=False, **kwargs):
        super().__init__(model=model, **kwargs)
        self.loud = loud

    def dump_state(self):
        return {**super().dump_state(), "loud": self.loud}

    def forward(self, prompt=None, messages=None, **kwargs):
        asked = messages[-1]["content"].partition("[[ ## text ## ]]")[2].split("\n\n")[0].strip()
        text = asked.upper() if self.loud else asked[::-1]
        message = SimpleNamespace(content=f"[[ ## cleaned ## ]]\n{text}\n\n[[ ## completed ## ]]", tool_calls=None)
        choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
        return SimpleNamespace(
            choices=[choice], usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, model=self.model
        )


class Clean(dspy.Module):
    def __init__(self):
        super().__init__()
        self.clean = dspy.Predict("text -> cleaned")
        self.clean.set_lm(RuleLM(loud=True))
        self.label = dspy.Predict("cleaned -> label")

    def forward(self, text):
        return self.label(cleaned=self.clean(text=text).cleaned)


program = Clean


def metric(example, pred, trace=None):
    return example.label in pred.label


def examples(first, count):
    return [
        dspy.Example(text=f"buoy {n} adrift", label=("BUOY", "ADRIFT")[n % 2]).with_inputs("text")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
