"""The kind DSPyCompilationTrigger: it begins runs of a Compilation by itself.

kind        describes the kind to the runtime
reconcile   makes one pass: reads the trigger, its Compilation and what it watches, decides, writes
jobs        the Job whose pod looks at a git repository, or lists models (pure)
read        converts API objects to facts (pure)
decide      which cause is due, whether it begins a run, and what the status says (pure)
watches     what has changed of files in git, of ConfigMaps and of models (pure)
causes      when schedules are due (pure)
world       what a pass has read
status      the status, which the operator writes
spec        the spec, which users write
trials      the Compilation for a new model (pure)
api         kind, annotations, reasons
"""
