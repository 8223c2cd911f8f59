"""The only reader of the cluster.

observer     one pass: everything of one Compilation
objects      objects of the API server -> facts
config_maps  the journal's ConfigMaps
pod_logs     when a pod's output is read, and how often
"""
