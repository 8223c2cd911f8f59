"""What a plan or worker knows of what was paid for.

run_journal  the journal of one run
store        it, and those of earlier runs
body_store   where bodies are kept outside of the cluster's etcd
"""
