"""Replays stock DSPy optimizers from the journal.

hooks         pass stock DSPy's expensive steps to the engine
engine        takes results from the journal; runs a missing effect in the plan, or ends the plan
small_waves   waves that the plan runs itself
own_calls     LM calls that the plan makes for the optimizer
scouting      the plan's lookahead
asked         the plan's requests in this round
course        the effects that the plan needed, in order
results       results of effects in the journal
output        prints the plan's records while threads are at work, and ends the plan
host          the engine's interface to the process
effects       the expensive steps, a module for each kind
calls         makes each LM call once
call_sharing  shares LM calls between processes of one machine
prefetch      makes LM calls of a bootstrap ahead
execute       runs one cell, in a plan or a worker
cell_timer    times cells, and ends a process whose cells do not end
score         checks the values that a metric returns
attempts      isolates the failure counts of `dspy.BestOfN` and `dspy.Refine`
fallbacks     tells LM calls that repeat a question
evidence      collects the evidence that DSPy records for ReAnchor
pruning       leaves out the cells of candidates that cannot win
unfinished    finishes an interrupted round
tally         counts failed examples, for the report
blame         decides whether an exception is a result
recorded      guards DSPy's records of LM calls
settings      watches how user code sets `dspy.settings`
"""
