"""Durable replay of stock DSPy optimizers.

hooks         pass stock DSPy's expensive steps to the engine
engine        takes a missing result from the journal, runs it in the plan, or ends the plan
small_waves   waves that the plan runs itself
own_calls     LM calls that the plan makes for the optimizer
scouting      the plan's lookahead
asked         the plan's requests in this round
course        the effects that the plan needed, in order
results       results of effects in the journal
output        the plan's output while threads are at work, and its end
host          the engine's interface to the process
effects       the expensive steps, a module for each kind
calls         makes each LM call once
call_sharing  shares LM calls between processes of one machine
execute       runs one cell, in a plan or a worker
pruning       spares the cells of candidates that cannot win
unfinished    finishes an interrupted round
tally         counts failed examples, for the report
blame         decides whether an exception is a result
recorded      guards DSPy's records of LM calls
"""
