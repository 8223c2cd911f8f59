"""The rules of a run that operator and local driver share. All of them are pure: they do not read, write or wait.

identity  says which changes of the spec begin a new run
journal   reads a run's records as one journal
accounts  adds up what processes have spent
limits    says what is left of spec.limits, and when a limit ends the run
attempts  says how processes ended, and which cells are to blame
slicing   deals the cells of a round into slices
steps     says what a run does next
"""
