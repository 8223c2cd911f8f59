"""The local driver: rounds of the same plan and work processes that pods run, with a folder for a journal.

documents  reads the YAML files: the Compilation, and ConfigMaps and Secrets that it names
folder     the journal's folder
processes  plan and work as subprocesses
launcher   starts them
driver     the rounds
display    shows progress and report
estimate/  estimates the cost of a compile
pack       prints a folder as a ConfigMap
"""
