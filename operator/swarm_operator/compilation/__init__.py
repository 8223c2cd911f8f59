"""One kind, DSPyCompilation. A pass is observe -> decide -> apply; `reconcile` is that sentence as code.

api        what users see: group, kind, labels, status models, condition types, reasons
model      what a pass has seen, what it may do, and names computed from both
observe    the only reader of the cluster
decide     the state machine (pure)
apply      the only writer
reconcile  one pass
"""
