"""The kind DSPyCompilation. A pass over one Compilation has four steps: observe, interpret, decide, apply.

api        what users see: group, kind, labels, status models, condition types, reasons
model      facts, actions and names of objects (pure)
observe    reads from the cluster what a pass needs
interpret  derives the World, on which `decide` works, from the facts that `observe` has read (pure)
decide     the state machine: chooses actions and status (pure)
apply      carries out the actions; only this folder writes a Compilation's objects
reconcile  makes one pass
"""
