"""Rules of a run that operator and local driver share. Pure: nothing here reads, writes or waits.

identity  which changes of the spec begin a new run
journal   a run's records as one journal
accounts  what processes have spent
limits    what is left of spec.limits, and when a limit ends the run
attempts  how processes ended, and which cells are to blame
slicing   how the cells of a round are divided into slices
steps     what a run does next
"""
