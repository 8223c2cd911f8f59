"""Plan and work: the processes that pods run, and that the local driver runs.

start        starts such a process
plan         replays the stock optimizer from the journal until a result is missing
work         runs one slice of the cells that plans request
process      the process in which both run: output, signals, commit record, exit
environment  loads and configures the user's program, metric, data and models for both
script       the compile as a user would write it
explanation  the parts of a report that explain the winner
artifact     the files of the compiled program and its report
"""
