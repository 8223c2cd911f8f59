"""The local driver: rounds of the same plan and work processes that pods run, with a folder for a journal.

documents  the YAML files: the Compilation, and ConfigMaps and Secrets that it names
folder     the journal's folder
processes  plan and work as subprocesses
launcher   how they are started
driver     the rounds
display    what a person sees meanwhile, and at the end
estimate/  what a compile will cost
pack       a folder as a ConfigMap
"""
