"""The outcome of a cell."""

from typing import Any

from swarm_wire.messages import Outcome

Value = tuple[Outcome, Any]
"""A cell's outcome: OK and its return value, or ERROR and its exception."""
