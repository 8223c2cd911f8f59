"""The expensive steps of an optimizer. Each is named by its content, becomes a task, and turns the results into stock
DSPy's return value.

effect         the engine's interface to effects
wave           one function over many items: evaluations, collections of traces
bootstrap      a whole `BootstrapFewShot.compile`
call           the optimizer's own LM call, which the plan makes
registry       finds the module of a task's kind
tasks          tasks and the blobs that they refer to
failures       counts failed cells
side_effects   finds changes that examples must not make

A new kind is a member of `EffectKind` and a module of its name: an effect (see `effect`) for the plan, and `make_work`
for workers. A hook passes its effects to the engine.
"""
