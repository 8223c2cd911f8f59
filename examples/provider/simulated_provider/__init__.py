"""A simulated OpenAI-compatible provider. Better prompts get better answers from it, as from a real model.

Each layer imports only from the layers before it::

    chance, words               hashes in place of random numbers; text as weighted features
    prompts, records            what a DSPy prompt asks for; labelled examples that a text quotes
    knowledge, brain            what a model has seen; which label the evidence favours
    writing, agents             free texts; the next tool of an agent, and its arguments
    answers, formats            a value for every output field; the format of the prompt's adapter
    errors, finetuning          errors in OpenAI's form; files, jobs, and models that have learned from rows
    faults, server              what goes wrong, and when; HTTP
"""
