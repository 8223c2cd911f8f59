"""The operator: runs a DSPyCompilation as rounds of Jobs, and publishes its winner in a ConfigMap.

runtime      keeps the process going: kopf, the queue of passes, health
compilation  one kind: the facts, decisions and actions of a pass
cluster      communicates with an API server
settings     an administrator's settings
"""
