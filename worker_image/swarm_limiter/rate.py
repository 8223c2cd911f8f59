"""The rate of a group of requests: when the next request may be sent (pure). Callers pass the time.

The limiter spreads requests evenly over a minute, because providers also count requests by the second. If tokens are
limited, the pause after a request depends on its expected tokens. The limiter also counts the tokens of the last
minute, so that no minute has more than the limit.

When the provider refuses a request, the limiter sends nothing for as long as the provider demands, and halves the rate.
If the group has no limit per minute, the limiter halves its concurrency instead. Rate and concurrency then grow back at
an even pace, as in TCP (additive increase, multiplicative decrease).
"""

from dataclasses import dataclass
from math import inf
from typing import Final

from swarm_limiter.tokens import Counted, Tokens
from swarm_wire.rates import Answered, RateLimit

MINUTE: Final = 60.0
SHARE: Final = 0.95
"""Share of a limit that the limiter uses.

Providers count requests when they arrive, and some requests travel longer than others. So a provider's minute may have
the requests of 63 seconds.
"""
CREDIT: Final = 1.0
"""After a while without requests, a group may send at once what it could have sent in this many seconds."""
RECOVERY: Final = 120.0
"""Seconds in which a rate grows from nothing to its limit."""
LEAST: Final = 1 / 64
"""Least share of a limit that the limiter uses, however often the provider refuses requests."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Longest pause after a refusal in which the provider names no time, in seconds.

The pause begins with FIRST_PAUSE, and doubles with each such refusal in a row.
"""
MOST_DOUBLED: Final = 7
"""Number of refusals in a row after which the pause no longer doubles."""
LONGEST_HINT: Final = 600.0
"""Longest wait that a provider can demand, in seconds. If it demands more, the limiter waits only this long."""


@dataclass(eq=False)
class Turn:
    """A request that the limiter has let through.

    Attributes:
        is_paced: whether the request's group has a limit per minute.
        counted: the request's tokens; None if its group does not limit tokens.
    """

    at: float
    is_paced: bool = False
    counted: Counted | None = None


class Rate:
    """Knows the running requests of a group, and when the next request may start.

    Args:
        since: the time before which there may have been requests that the limiter does not know.
    """

    def __init__(self, since: float = -inf) -> None:
        self.under_way = 0
        self._last, self._next_by_tokens = since, -inf
        self._tokens = Tokens()
        self._concurrency = inf
        self._share, self._shared_at = 1.0, -inf
        self._paused_until, self._objections = -inf, 0

    def take(self, limit: RateLimit, tokens: int, now: float) -> Turn | float:
        """Returns a Turn if the request may be sent now. If not, returns the seconds after which to ask again.

        The seconds are infinite if the request must wait until a running request ends.
        """
        if now < self._paused_until:
            return self._paused_until - now
        if self.under_way >= max(1, min(self._concurrency, limit.concurrency or inf)):
            return inf
        most = limit.tokens_per_minute
        if most is not None and (wait := self._tokens.wait(tokens, most, now)) > 0:
            return wait
        if (wait := max(self._last + self._pause(limit, now), self._next_by_tokens) - now) > 0:
            return wait
        turn = Turn(now, is_paced=bool(limit.requests_per_minute or limit.tokens_per_minute))
        self._pace(limit, turn, tokens)
        self.under_way += 1
        return turn

    def end(self, turn: Turn, answered: Answered, now: float, luck: float = 0.5) -> None:
        """Notes that a request has ended.

        Args:
            luck: a random number between 0 and 1, so that groups do not all go on at the same moment after a pause.
        """
        self.under_way -= 1
        if turn.counted is not None:
            self._tokens.settle(turn.counted, 0 if answered.throttled else answered.tokens)
        if answered.throttled:
            self._object(turn, answered.retry_after, now, luck)
        else:
            self._objections = 0
            self._concurrency += 1 / max(1, self._concurrency)

    def _pause(self, limit: RateLimit, now: float) -> float:
        """Returns the seconds from one request to the next."""
        if limit.requests_per_minute is None:
            return 0.0
        return MINUTE / (limit.requests_per_minute * SHARE * self._grown(now))

    def _pace(self, limit: RateLimit, turn: Turn, tokens: int) -> None:
        """Delays the next request of the group, as the limit and the tokens of this request demand."""
        self._last = max(self._last + self._pause(limit, turn.at), turn.at - CREDIT)
        if limit.tokens_per_minute is not None:
            speed = SHARE * self._grown(turn.at)
            pause = MINUTE * self._tokens.likely(tokens) / (limit.tokens_per_minute * speed)
            self._next_by_tokens = max(self._next_by_tokens, turn.at - CREDIT) + pause
            turn.counted = self._tokens.add(tokens, turn.at)

    def _grown(self, now: float) -> float:
        """Returns the share of the limits that the limiter uses now."""
        return min(1.0, self._share + max(0.0, now - self._shared_at) / RECOVERY)

    def _object(self, turn: Turn, retry_after: float | None, now: float, luck: float) -> None:
        # A request that was sent before the rate was lowered says nothing about the lower rate.
        if turn.at >= self._shared_at:
            self._share, self._shared_at = max(LEAST, self._grown(now) / 2), now
            if not turn.is_paced:
                self._concurrency = max(1.0, min(self._concurrency, self.under_way + 1) / 2)
            self._objections = min(self._objections + 1, MOST_DOUBLED)
        # If the provider asks to wait 0 seconds, that does not help: it has just refused a request at that rate.
        hint = min(retry_after, LONGEST_HINT) if retry_after else None
        pause = hint or min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._objections - 1))
        self._paused_until = max(self._paused_until, now + pause * (1 + luck / 4))
