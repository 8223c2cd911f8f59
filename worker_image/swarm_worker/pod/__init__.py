"""Plan and work: the processes that pods run, and that the local driver runs.

start        how such a process starts
plan         replays the stock optimizer from the journal until it lacks a result
work         runs one slice of the cells that plans asked for
process      what both share as processes: output, signals, commit, exit
environment  everything of the user's that they need, loaded and configured
script       the compile as a user would write it
"""
