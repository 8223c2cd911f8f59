"""The worker: knows DSPy, never Kubernetes.

plan        replays the stock optimizer from the journal until it lacks a result
work        runs one slice of the cells that plans asked for
replay/     how a plan is made durable: hooks, effects, digests, engine
user/       what the user brings: program, metric, data, models, optimizer
local/      the local driver: the same plan and work processes, without a cluster
process     what plan and work share as processes: output, signals, commit, exit
"""
