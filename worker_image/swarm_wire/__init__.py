"""The contract between the operator and its pods.

The worker side publishes it, the operator is its client; neither side is imported here. See
`worker_image/README.md` for the contract in prose.

    names       labels, environment, mounted paths, exit codes
    spec        what a user writes in a DSPyCompilation
    messages    what the two sides tell each other; spending, report: parts of it
    records     what pods say, in frames
    pod_output  how they say it: framed lines on their output, closed by a commit
    shards      how it is kept: the journal's files
"""
