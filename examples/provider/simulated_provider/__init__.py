"""A simulated OpenAI-compatible provider whose answers get better with better prompts, as a real model's do.

The layers, each importing only from those before it::

    chance, words               hashing instead of random numbers; text to weighted features
    prompts, records            what a DSPy prompt asks; labelled examples quoted inside a text
    knowledge, brain            what a model has seen; which label the evidence favours
    writing, agents             free texts; an agent's next tool and what it takes
    answers, formats            a value for every output field; the adapter's rendering
    faults, server              what goes wrong, and when; HTTP
"""
