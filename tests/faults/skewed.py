"""`python -m faults.skewed`: the operator with a clock that is wrong by $SKEW seconds.

+N or -N: from its tenth pass on; N: at every second pass.
"""

import itertools
import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial

from swarm_operator import __main__, handlers
from swarm_operator.reconcile import Reconciler

SKEW = os.environ["SKEW"]
PASSES = itertools.count(1)


def clock() -> datetime:
    number = next(PASSES)
    wrong = number > 10 if SKEW[0] in "+-" else number % 2 == 0
    return datetime.now(UTC) + timedelta(seconds=int(SKEW) if wrong else 0)


if __name__ == "__main__":
    vars(handlers)["Reconciler"] = partial(Reconciler, clock=clock)
    sys.exit(__main__.main())
