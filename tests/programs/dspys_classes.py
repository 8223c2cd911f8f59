"""For each class of DSPy that a program may hold, there is a program here. It has a result without a model."""

import hashlib
from collections.abc import Callable
from typing import Any

import dspy
from dspy.evaluate import CompleteAndGrounded, SemanticF1

WORDS = [f"page {number}" for number in range(20)]


def vectors(texts: list[str]) -> list[list[float]]:
    return [[(byte - 128) / 128 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]


def tool(text: str, times: int = 1) -> str:
    """Repeats a text."""
    return text * times


async def later(text: str) -> str:
    return text


def reward(arguments: dict[str, Any], prediction: Any) -> float:
    return float(len(prediction.label))


class Holder(dspy.Module):
    """A program that holds an object of one of DSPy's classes, and a predictor."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held
        self.answer = dspy.Predict("text -> label")

    def forward(self, text: str) -> Any:
        return self.answer(text=text)


class OwnAsync(Holder):
    async def aforward(self, text: str) -> Any:
        return await self.answer.acall(text=text)


def embedder() -> Any:
    return dspy.Embedder(vectors)


def examples() -> list[Any]:
    return [dspy.Example(text=word, label="ABCD"[at % 4]).with_inputs("text") for at, word in enumerate(WORDS[:8])]


def prediction(label: str) -> Any:
    return dspy.Prediction.from_completions([{"label": label}, {"label": "B"}])


def predictor() -> Any:
    return dspy.Predict("text -> label")


def compiled_knn() -> Any:
    arguments = {"k": 2, "trainset": examples(), "vectorizer": embedder(), "max_bootstrapped_demos": 1}
    return dspy.KNNFewShot(**arguments).compile(predictor())


Probe = Callable[[Any], Any] | None

CLASSES: dict[str, tuple[Callable[[], Any], Probe]] = {
    "Embeddings": (
        lambda: dspy.retrievers.Embeddings(corpus=WORDS, embedder=embedder(), k=2),
        lambda it: it("page 3").passages,
    ),
    "EmbeddingsWithScores": (
        lambda: dspy.EmbeddingsWithScores(corpus=WORDS, embedder=embedder(), k=2),
        lambda it: it("page 3").scores,
    ),
    "Embedder": (embedder, lambda it: it(["a"]).tolist()),
    "Embedder of a hosted model": (lambda: dspy.Embedder("openai/text-embedding-3-small", api_base="http://m"), None),
    "ColBERTv2": (lambda: dspy.ColBERTv2(url="http://m/search"), None),
    "Retrieve": (lambda: dspy.Retrieve(k=3), None),
    "PythonInterpreter": (dspy.PythonInterpreter, None),
    "LocalInterpreter": (dspy.LocalInterpreter, None),
    "CodeAct": (lambda: dspy.CodeAct("text -> label", tools=[tool]), None),
    "ProgramOfThought": (lambda: dspy.ProgramOfThought("text -> label"), None),
    "RLM": (lambda: dspy.RLM("text -> label", tools=[tool]), None),
    "Flex": (lambda: dspy.Flex("text -> label"), None),
    "Predict": (predictor, None),
    "ChainOfThought": (lambda: dspy.ChainOfThought("text -> label"), None),
    "ReAct": (lambda: dspy.ReAct("text -> label", tools=[tool]), None),
    "ReActV2": (lambda: dspy.ReActV2("text -> label", tools=[tool]), None),
    "Tool": (lambda: dspy.Tool(tool), lambda it: it(text="a", times=2)),
    "ToolCalls": (lambda: dspy.ToolCalls.from_dict_list([{"name": "tool", "args": {"text": "a"}}]), repr),
    "MultiChainComparison": (lambda: dspy.MultiChainComparison("text -> label", M=2), None),
    "BestOfN": (
        lambda: dspy.BestOfN(predictor(), N=2, reward_fn=reward, threshold=1.0),
        lambda it: it.reward_fn({}, prediction("AB")),
    ),
    "Refine": (
        lambda: dspy.Refine(predictor(), N=2, reward_fn=reward, threshold=1.0),
        lambda it: it.reward_fn({}, prediction("AB")),
    ),
    "Parallel": (lambda: dspy.Parallel(num_threads=2, disable_progress_bar=True), None),
    "KNN": (lambda: dspy.KNN(k=2, trainset=examples(), vectorizer=embedder()), lambda it: it(text="page 3")),
    "KNNFewShot": (compiled_knn, None),
    "Ensemble": (lambda: dspy.Ensemble(reduce_fn=dspy.majority).compile([predictor(), predictor()]), None),
    "majority": (lambda: dspy.majority, lambda it: it(prediction("A")).label),
    "SemanticF1": (lambda: SemanticF1(decompositional=True), None),
    "CompleteAndGrounded": (CompleteAndGrounded, None),
    "History": (lambda: dspy.History(messages=[{"text": "a", "label": "B"}]), repr),
    "Image": (lambda: dspy.Image("https://m/a.png"), repr),
    "Audio": (lambda: dspy.Audio(data="UklGRg==", audio_format="wav"), repr),
    "File": (lambda: dspy.File(file_data="data:text/plain;base64,YQ==", filename="a.txt"), repr),
    "Code": (lambda: dspy.Code["python"](code="1 + 1"), repr),
    "Reasoning": (lambda: dspy.Reasoning(content="because"), repr),
    "Example": (lambda: examples()[0], repr),
    "Prediction": (lambda: prediction("A"), lambda it: it.completions.label),
    "Signature": (lambda: dspy.Signature("text: str, context: list[str] -> label: float", "Say it."), repr),
    "LM": (lambda: dspy.LM("openai/m", api_base="http://m/v1", temperature=0.5), None),
    "ChatAdapter": (dspy.ChatAdapter, None),
    "JSONAdapter": (dspy.JSONAdapter, None),
    "XMLAdapter": (dspy.XMLAdapter, None),
    "TwoStepAdapter": (lambda: dspy.TwoStepAdapter(dspy.LM("openai/m", api_base="http://m/v1")), None),
    "asyncify": (lambda: dspy.asyncify(tool), None),
    "syncify": (lambda: dspy.syncify(OwnAsync(1), in_place=False), None),
    "syncify in place": (lambda: dspy.syncify(OwnAsync(1)), None),
    "streamify": (lambda: dspy.streamify(predictor()), None),
    "Module.acall": (lambda: OwnAsync(1), None),
    "Evaluate": (lambda: dspy.Evaluate(devset=examples(), metric=reward, num_threads=2), None),
}


def program(name: str) -> Any:
    return Holder(CLASSES[name][0]())


def probed(name: str, held: Any) -> str:
    probe = CLASSES[name][1]
    return "" if probe is None else repr(probe(held))
