"""`python -m swarm_worker estimate`: what a compile will cost, found out by compiling against imaginary models.

command    the arguments; puts an estimate together and prints it
dryrun     a run by the local driver, with imaginary models
figures    what processes printed -> rounds, phases, totals
prices     tokens -> USD
display    figures as tables
"""
