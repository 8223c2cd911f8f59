"""The operator runs a DSPyCompilation as rounds of Jobs, and publishes its winner in a ConfigMap.

A pass is one look at one Compilation, with the actions that follow from what the operator saw.

runtime      keeps the process going: kopf, the queue of passes, health
compilation  the facts, decisions and actions of a pass over a DSPyCompilation
cluster      communicates with an API server
settings     an administrator's settings
"""
