"""The contract between the operator and its pods.

The worker side publishes it, the operator is its client; neither side is imported here. See
`worker_image/README.md` for the contract in prose.

    names       environment, mounted paths, exit codes, reasons
    spec        what a user writes in a DSPyCompilation
    messages    messages between the two sides; spending, report: parts of them
    records     records of pods, and their frames
    pod_output  how pods print records: lines on their output, closed by a commit record
    shards      how records are stored: the journal's files
"""
