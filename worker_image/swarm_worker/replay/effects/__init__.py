"""The expensive steps of an optimizer.

Each effect is named by its content. It makes a task, and turns the task's results into stock DSPy's return value.

effect         the engine's interface to effects
wave           one function over many items: evaluations, collections of traces
bootstrap      a whole `BootstrapFewShot.compile`
call           the optimizer's own LM call, which the plan makes
registry       finds the module of a task's kind
tasks          tasks and the blobs that they refer to
failures       counts failed cells
side_effects   finds changes that examples must not make

A new kind of effect needs a member of `EffectKind` and a module of the member's name. The module has an effect (see
`effect`) for the plan, and `make_work` for workers. A hook passes the effects to the engine.
"""
