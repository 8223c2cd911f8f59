"""What a user writes in a DSPyCompilation. The CRD's schema is generated from these models.

They sit in the contract because both sides read them: the operator from the cluster, the pods from their request, the
local driver from a YAML file. Descriptions become `kubectl explain`.

    compilation   the whole spec
    program       what is compiled and what scores it, and where the files come from; adapters
    data          the examples, and where they come from
    models        language models; parameters of a call
    optimizers    DSPy's, with their parameters
    swarm         the pods of a round
    limits        what a run may cost
    artifact      where the winner goes
    journal       where results are kept
    variables     environment of the user's code
    schema        what these models are made of: patterns, rules, unions; references to objects of the namespace
    problems      what is wrong with a spec, in words
"""
