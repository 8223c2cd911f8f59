"""The results and LM calls that were paid for, as a plan or worker reads them.

run_journal  the journal of one run
store        that journal, and those of earlier runs
body_store   stores bodies outside of the cluster's etcd
"""
