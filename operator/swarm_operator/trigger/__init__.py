"""The kind DSPyCompilationTrigger: it begins runs of a Compilation by itself.

kind        describes the kind to the runtime
reconcile   makes one pass: reads the trigger and its Compilation, decides, writes
decide      which cause is due, whether it begins a run, and what the status says (pure)
causes      when schedules are due (pure)
world       what a pass has read
status      the status, which the operator writes
spec        the spec, which users write
api         kind, annotations, reasons
"""
