"""One kind, DSPyCompilation. A pass is observe -> interpret -> decide -> apply.

api        what users see: group, kind, labels, status models, condition types, reasons
model      facts, actions and names of objects (pure)
observe    the only reader of the cluster
interpret  derives the world, on which decisions are based, from the raw facts (pure)
decide     the state machine (pure)
apply      the only writer
reconcile  one pass
"""
