"""`python -m swarm_operator` runs the operator. It reads its settings from environment variables (see `settings`)."""

import logging
import sys

from pydantic import ValidationError

from swarm_operator.compilation.kind import COMPILATION
from swarm_operator.runtime.handlers import run
from swarm_operator.settings import PREFIX, Settings
from swarm_operator.trigger.kind import TRIGGER


class OneLine(logging.Formatter):
    """Escapes unprintable characters, so that text of a pod or server cannot imitate a log line or move a cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        said = record.message
        record.message = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)
        return super().formatMessage(record)


def main() -> int:
    try:
        settings = Settings.from_environment()
    except ValidationError as error:
        for problem in error.errors():
            name = PREFIX + "_".join(map(str, problem["loc"])).upper()
            sys.stderr.write(f"{name}: {problem['msg']} (it is {problem['input']!r})\n")
        return 2
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    # At its usual level, this logger of kopf would log every event of a watch.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    run(settings, [COMPILATION, TRIGGER])
    return 0


if __name__ == "__main__":
    sys.exit(main())
