"""The local driver runs the same plan and work processes as pods do, as subprocesses, with a folder as journal.

documents  reads the YAML files: the Compilation, and ConfigMaps and Secrets that it names
folder     the journal's folder
processes  plan and work as subprocesses
launcher   starts these subprocesses
driver     runs the rounds of a run
display    shows progress and report
estimate/  estimates the cost of a compile
pack       prints a folder as a ConfigMap
"""
