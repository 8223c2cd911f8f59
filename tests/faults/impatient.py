"""`python -m faults.impatient` runs the operator with less time for the start of a worker.

So a case that waits for the deadline of a worker takes two minutes instead of eleven.
"""

import sys

from swarm_operator.__main__ import main
from swarm_operator.compilation.decide import orders

START_SECONDS = 60

if __name__ == "__main__":
    setattr(orders, "START_SECONDS", START_SECONDS)  # noqa: B010  (mypy lets nobody assign to a constant)
    sys.exit(main())
