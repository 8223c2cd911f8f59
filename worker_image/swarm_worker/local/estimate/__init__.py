"""The command `python -m swarm_worker estimate` estimates the cost of a compile, by a run with imaginary models.

command    parses the arguments, makes the estimate and prints it
dryrun     runs a compile by the local driver, with imaginary models
figures    computes rounds, phases and totals from the run's records
display    prints an estimate as tables
"""
