"""Which endpoint the next operation goes to: one's own zone first, failing over as behind a regional endpoint.

A regional endpoint stops sending traffic to a front end that fails its health checks and tries it again later. Here
the operations themselves are the check: a refused or lost connection or a missing answer takes an endpoint out at
once, a run of server errors takes it out after :data:`ERRORS_MAX`; after a penalty that doubles up to
:data:`PENALTY_MAX_S` exactly one operation tries it again while the others stay away. Pure: the caller brings the
time.
"""

from __future__ import annotations

from dataclasses import dataclass

PENALTY_MIN_S = 0.5
PENALTY_MAX_S = 4.0
ERRORS_MAX = 5


@dataclass(slots=True)
class _State:
    penalty_s: float = 0.0
    out_until: float = 0.0
    errors: int = 0
    probing_until: float = 0.0


class Endpoints:
    """The endpoints in order of preference. ``probe_s`` bounds how long one trial keeps others away (the timeouts)."""

    __slots__ = ("_probe_s", "_states", "urls")

    def __init__(self, urls: tuple[str, ...], probe_s: float = 4.0) -> None:
        if not urls:
            raise ValueError("at least one endpoint is needed")
        self.urls = urls
        self._states = [_State() for _ in urls]
        self._probe_s = probe_s

    def pick(self, now: float) -> int:
        """The index of the endpoint for one operation: the first healthy one, else the one due back soonest."""
        if not self._states[0].penalty_s:  # as nearly always
            return 0
        for index, state in enumerate(self._states):
            if not state.penalty_s:
                return index
            if now >= state.out_until and now >= state.probing_until:
                state.probing_until = now + self._probe_s
                return index
        return min(range(len(self._states)), key=lambda i: (self._states[i].out_until, i))

    def succeeded(self, index: int) -> None:
        """A proper answer came (any status that is not a server's own failure)."""
        state = self._states[index]
        if state.penalty_s or state.errors:
            self._states[index] = _State()

    def errored(self, index: int, now: float) -> None:
        """The endpoint answered, but with a failure of its own (500, 503)."""
        state = self._states[index]
        state.errors += 1
        if state.errors >= ERRORS_MAX:
            self.failed(index, now)

    def failed(self, index: int, now: float) -> None:
        """No connection, a lost one, or no answer in time. Operations that were under way together count once."""
        state = self._states[index]
        if state.penalty_s and now < state.out_until:
            return
        state.penalty_s = min(PENALTY_MAX_S, max(PENALTY_MIN_S, state.penalty_s * 2))
        state.out_until = now + state.penalty_s
        state.probing_until = 0.0
        state.errors = 0

    def healthy(self) -> list[bool]:
        """Per endpoint, whether it is in use; for statistics."""
        return [not state.penalty_s for state in self._states]
