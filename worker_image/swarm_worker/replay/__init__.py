"""Durable replay of stock DSPy optimizers.

hooks         where stock DSPy hands its expensive steps to the engine
engine        the one place where a plan lacks a result: take it, run it here, or leave
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
