"""What a user writes in a DSPyCompilation. The CRD's schema is generated from these models.

They sit in the contract because both sides read them: the operator from the cluster, the pods from their request, the
local driver from a YAML file. Descriptions become `kubectl explain`.

    compilation   the whole spec
    program       the program, its metric, and the source of their files; adapters
    data          the examples and their sources
    models        language models; parameters of a call
    optimizers    DSPy's, with their parameters
    swarm         the pods of a round
    limits        limits on the cost of a run
    artifact      the destination of the winner
    journal       storage for results
    variables     environment of the user's code
    schema        building blocks of these models: patterns, rules, unions; references to objects of the namespace
    problems      error messages for invalid specs
"""
