"""One kind, DSPyCompilation. A pass is observe -> interpret -> decide -> apply.

api        what users see: group, kind, labels, status models, condition types, reasons
model      what a pass has seen, what it may do, and names computed from both
observe    the only reader of the cluster
interpret  what was read, as the world that is decided from (pure)
decide     the state machine (pure)
apply      the only writer
reconcile  one pass
"""
