"""Durable replay of stock DSPy optimizers.

hooks         where stock DSPy hands its expensive steps to the engine
engine        the one place where a plan may lack a result: take it, run it here, or leave
small_waves   waves that it runs here
own_calls     LM calls that it makes here
scouting      what it finds out ahead
asked         what it asks for in this round
course        which effects it needed, in which order
results       what the journal says of effects
output        what it prints while threads are at work, and how it ends
host          the process around it
effects       the expensive steps, a module for each kind
calls         LM calls, each made once
call_sharing  also between processes of one machine
execute       runs one cell, anywhere
pruning       which cells an arg max does not need
unfinished    what the last round has left to do
tally         which examples failed, for the report
blame         whether what was raised is a result
recorded      what DSPy records of LM calls for others to read
"""
