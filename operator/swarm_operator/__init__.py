"""The operator: makes a DSPyCompilation's compile happen as rounds of Jobs, and its winner a ConfigMap.

One pass over one Compilation is observe -> gather -> decide -> apply; `reconcile` is that sentence as code.

    api         what users see: group, kind, labels, status models, condition types, reasons
    world       what a pass has seen, as immutable facts
    naming      names and ids computed from those facts, so that repeating an action does nothing
    decide      world, now -> actions, status, wake-up: the state machine (pure)
    status      a verdict as conditions and events (pure)
    manifests   bodies of Jobs and ConfigMaps (pure)
    gather      a pod's output -> records that count (pure)
    observe     the only reader of the cluster (logs, shards: its parts)
    apply       the only writer
    reconcile   one pass
    handlers    kopf: what wakes a pass (schedule: the queue between them)
    kube        the REST client that observe and apply share
    clock       the API server's time
    lease       one operator writes at a time
    pulse       what the probes tell
"""
