"""The operator: makes a DSPyCompilation's compile happen as rounds of Jobs, and its winner a ConfigMap.

runtime      what keeps the process going: kopf, the queue of passes, health
compilation  one kind: what a pass sees, decides and does
cluster      how one talks to an API server
settings     what an administrator sets
"""
