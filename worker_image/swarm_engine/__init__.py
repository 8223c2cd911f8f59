"""Rules of a run that operator and local driver share. Pure: nothing here reads, writes or waits.

identity  which change of the spec begins a new run
journal   what records say, read as one
accounts  what processes have spent
limits    what is left of spec.limits, and when one ends the run
attempts  how processes ended, and whose fault that was
slicing   how the cells of a round are dealt out
steps     what a run does next
"""
