"""What a cell came to."""

from typing import Any

from swarm_wire.messages import Outcome

Value = tuple[Outcome, Any]
"""What a cell came to: OK and its return value, or ERROR and its exception."""
