"""The expensive steps of an optimizer. Each has a name by content, becomes a task, and turns results into what stock
DSPy would have returned.

effect         what the engine asks of any
wave           one function over many items: evaluations, collections of traces
bootstrap      a whole `BootstrapFewShot.compile`
call           an LM call of the optimizer's own, which the plan makes
registry       finds the module of a task's kind
tasks          tasks and the blobs that they refer to
failures       counts failing cells
side_effects   what examples may not leave behind

A new kind is a member of `EffectKind` and a module of its name: an effect (see `effect`) for the plan, and `make_work`
for workers. A hook hands its effects to the engine.
"""
