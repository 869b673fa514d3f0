"""Global admission control (GAC): one table-wide budget, spent at many routers [P22 §4.3].

Each router spends from a local bucket of *time-limited* tokens and reports what it spent; the GAC server estimates each
router's demand from those reports and vends the next interval's share. The server's state is ephemeral: a restarted one
relearns the demand within an interval, and a router that hears from none vends itself an equal share meanwhile, so that
the table's budget holds and nobody stands still.

Units are capacity units (read or write); rates are units per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

INTERVAL_S = 1.0
"""How often a router reports and is refilled. The paper says "every few seconds"; ours is short, like our game days."""

TOKEN_LIFE_S = 2.5
"""Unspent tokens lapse, so that a router which fell silent cannot hoard the table's budget."""

FORGET_AFTER_S = 3 * INTERVAL_S
"""A router not heard from for this long has no share any more."""


class LocalBucket:
    """A router's tokens for one table and one kind of unit."""

    __slots__ = ("_grants", "spent", "wanted")

    def __init__(self) -> None:
        self._grants: list[list[float]] = []  # [tokens left, expires], soonest first
        self.spent = 0.0
        self.wanted = 0.0

    def refill(self, tokens: float, now: float, life_s: float = TOKEN_LIFE_S) -> None:
        """Add tokens that lapse ``life_s`` from now."""
        self._grants.append([tokens, now + life_s])

    def take(self, units: float, now: float) -> bool:
        """Spend ``units``, or refuse and spend nothing. Both count as demand."""
        self.wanted += units
        grants = self._grants
        while grants and (grants[0][1] <= now or grants[0][0] <= 0.0):
            if grants[0][0] < 0.0 and len(grants) > 1:
                grants[1][0] += grants[0][0]  # a debt outlives the grant it was made on
            elif grants[0][0] < 0.0:
                break
            grants.pop(0)
        if not grants or grants[0][0] <= 0.0:
            return False
        # The last request of a grant may overdraw it: its true size is often known only once it has been served.
        grants[0][0] -= units
        self.spent += units
        return True

    def charge(self, units: float) -> None:
        """Spend what turned out to be needed beyond what :meth:`take` was asked for; may leave a debt."""
        self.spent += units
        self.wanted += units
        if self._grants:
            self._grants[0][0] -= units

    def cap(self, tokens: float) -> None:
        """Keep at most ``tokens``, the ones that last longest: the rate has fallen, and with it what may be saved
        up."""
        for grant in reversed(self._grants):
            grant[0] = min(grant[0], max(tokens, 0.0))
            tokens -= grant[0]

    def report(self) -> tuple[float, float]:
        """``(spent, wanted)`` since the last report."""
        spent, wanted = self.spent, self.wanted
        self.spent = self.wanted = 0.0
        return spent, wanted


@dataclass(slots=True)
class _Demand:
    wanted: float
    seen: float


@dataclass(slots=True)
class GlobalBucket:
    """The GAC server's estimate for one table and one kind of unit."""

    demands: dict[str, _Demand] = field(default_factory=dict)

    def vend(self, router: str, wanted: float, rate: float, now: float) -> float:
        """Tokens for ``router``'s next interval, given what it wanted in the last one.

        Max-min fair: nobody gets more than it wants while another goes short, and what nobody wants is spread evenly as
        headroom, so that a router whose traffic jumps is not throttled while the table is under its rate.
        """
        self.demands[router] = _Demand(wanted / INTERVAL_S, now)
        for name in [n for n, d in self.demands.items() if now - d.seen > FORGET_AFTER_S]:
            del self.demands[name]
        fair = max_min_shares({name: d.wanted for name, d in sorted(self.demands.items())}, rate)
        idle = rate - sum(fair.values())
        return (fair[router] + idle / len(fair)) * INTERVAL_S


def max_min_shares(demands: dict[str, float], rate: float) -> dict[str, float]:
    """Split ``rate`` over demands so that the smallest share is as large as it can be, then the next smallest, ..."""
    shares: dict[str, float] = {}
    left = rate
    for position, (name, wanted) in enumerate(sorted(demands.items(), key=lambda kv: (kv[1], kv[0]))):
        shares[name] = min(wanted, left / (len(demands) - position))
        left -= shares[name]
    return shares
