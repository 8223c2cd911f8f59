"""The contract between the operator and its pods.

Operator and worker image both import this package, and it imports neither of them. `worker_image/README.md` explains
the contract in prose.

    names       environment variables, mounted paths, exit codes, reasons
    spec        what a user writes in a DSPyCompilation
    messages    messages between operator and pods; `spending`, `report` and `tuned` have parts of them
    records     records of pods, and the frames that hold records
    pod_output  how pods print records: as lines of their output, closed by a commit record
    shards      how records are stored: in shards, the files of the journal
"""
