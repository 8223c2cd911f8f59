"""Models of what a user writes in a DSPyCompilation. The CRD's schema is generated from these models.

They are a part of the contract because operator, pods and local driver all read them. The operator reads a spec from
the cluster, a pod from the RunRequest, and the local driver from a YAML file. `kubectl explain` shows their
descriptions.

    compilation   the whole spec
    program       the program, its metric, and the source of their files
    adapters      the adapter of the program
    data          the examples and their sources
    models        language models
    parameters    parameters of each call to a model
    optimizers    DSPy's optimizers, with their parameters
    swarm         the pods of a round
    limits        limits on the cost of a run
    artifact      the destination of the winner
    journal       storage for results
    variables     environment of the user's code
    schema        building blocks of these models: patterns, rules, unions
    references    references to objects in the namespace
    problems      error messages for invalid specs
"""
