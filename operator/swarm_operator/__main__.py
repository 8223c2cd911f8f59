"""`python -m swarm_operator`: runs the operator; settings come from the environment (see `settings`)."""

import logging
import sys

from pydantic import ValidationError

from swarm_operator.handlers import run
from swarm_operator.settings import PREFIX, Settings


def main() -> int:
    try:
        settings = Settings.from_environment()
    except ValidationError as error:
        for problem in error.errors():
            name = PREFIX + "_".join(map(str, problem["loc"])).upper()
            sys.stderr.write(f"{name}: {problem['msg']} (it is {problem['input']!r})\n")
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    # It would tell of every event.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    run(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
