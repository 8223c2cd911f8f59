"""Reads finished results and LM calls for a plan or worker.

run_journal  the journal of one run
store        the journal of this run, completed by those of earlier runs
body_store   stores bodies outside of the cluster's etcd
"""
