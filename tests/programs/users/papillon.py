"""From the PAPILLON tutorial: the program calls a second model without a predictor and ignores errors."""

import os

import dspy


class Craft(dspy.Signature):
    """Given a private user query, create a privacy-preserving request for a powerful external LLM."""

    user_query = dspy.InputField()
    llm_request = dspy.OutputField()


class Respond(dspy.Signature):
    """Respond to a user query."""

    related_llm_request = dspy.InputField()
    related_llm_response = dspy.InputField(desc="information from a powerful LLM")
    user_query = dspy.InputField()
    response = dspy.OutputField(desc="your final response")


class PAPILLON(dspy.Module):
    def __init__(self, untrusted_model):
        self.craft_redacted_request = dspy.ChainOfThought(Craft)
        self.respond_to_query = dspy.Predict(Respond)
        self.untrusted_model = untrusted_model

    def forward(self, user_query):
        try:
            llm_request = self.craft_redacted_request(user_query=user_query).llm_request
            llm_response = self.untrusted_model(llm_request)[0]
            response = self.respond_to_query(
                related_llm_request=llm_request, related_llm_response=llm_response, user_query=user_query
            ).response
        except Exception:
            return dspy.Prediction(llm_request="", llm_response="", response="")
        return dspy.Prediction(llm_request=llm_request, llm_response=llm_response, response=response)


def program():
    return PAPILLON(
        untrusted_model=dspy.LM("openai/large", api_base=os.environ["PROVIDER"], api_key="none", max_tokens=400)
    )


def metric(gold, pred, trace=None):
    leaked = gold.name in pred.llm_request
    quality = gold.topic in pred.response
    return (quality + (1 - leaked)) / 2


def feedback(gold, pred, trace=None, pred_name=None, pred_trace=None):
    score = metric(gold, pred)
    return dspy.Prediction(score=score, feedback=f"The overall score is {score:.2f}. Do not tell {gold.name}.")


def examples(first, count):
    return [
        dspy.Example(
            user_query=f"Ana{n} wants a letter about insurance", name=f"Ana{n}", topic=("letter", "insurance")[n % 2]
        ).with_inputs("user_query")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 9)
