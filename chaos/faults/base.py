"""What every fault is: a preflight, an injection, a proof of its effect, and an undo that needs the journal only.

The undo record is computed by :meth:`Fault.undo` *before* anything happens; the engine makes it durable, then injects.
``heal`` works from that record alone, in any process, any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from chaos.errors import PlatformError
from chaos.targets import CLIENT, GroupView, NodeRef

if TYPE_CHECKING:
    from chaos.faults.cuts import Pair
    from chaos.journal import Entry
    from cluster.runtime.base import Cluster

EffectState = Literal["confirmed", "not-confirmed", "mismatch"]


class FaultUnavailable(PlatformError):
    """The machine has no mechanism for this fault; the text names the alternative."""


class Changed(PlatformError):
    """What was to be injected into has moved on since it was looked at; nothing was done, and it may be tried anew."""


class Effect(NamedTuple):
    """What reading a fault back showed."""

    state: EffectState
    detail: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One fault as resolved: what to do to whom."""

    name: str
    targets: tuple[str, ...]
    options: dict[str, Any]
    pairs: frozenset[Pair] = field(default=frozenset())
    """For partitions: whose packets to whom are dropped, by node name."""
    seed: str = ""
    """For what is chosen at random at the moment of injection."""
    groups: tuple[GroupView, ...] = ()
    """The groups as they are at that moment."""
    avoid: frozenset[str] = frozenset()
    """Groups that must not be hurt: they have a damaged replica already."""


class Fault(Protocol):
    """One kind of fault. Implementations hold no state: everything is in the spec and the journal entry."""

    kind: str

    def preflight(self, cluster: Cluster, spec: Spec) -> None:
        """Ask the kernel and the runtime whether the mechanism is there. Raises :class:`FaultUnavailable`."""
        ...

    def undo(self, cluster: Cluster, entry_id: str, spec: Spec) -> dict[str, Any]:
        """Everything that :meth:`heal` will need; touches nothing."""
        ...

    def inject(self, cluster: Cluster, entry: Entry, spec: Spec) -> str:
        """Make it so; what was done, in a sentence with figures."""
        ...

    def verify(self, cluster: Cluster, entry: Entry, spec: Spec) -> Effect:
        """Read the effect back."""
        ...

    def renew(self, cluster: Cluster, entry: Entry) -> None:
        """Start anew the time after which the kernel lifts it."""
        ...

    def heal(self, cluster: Cluster, entry: Entry) -> Effect | None:
        """Undo it. Idempotent. An effect only where healing showed that the fault was not what it was meant to be."""
        ...


def node_refs(cluster: Cluster) -> list[NodeRef]:
    """The nodes of a running cluster and its zones' clients, as selectors see them."""
    nodes = [NodeRef(n.name, n.role, n.az, n.rack, n.address) for n in cluster.nodes.values()]
    zones = sorted({node.az for node in nodes if node.az})
    return nodes + [NodeRef(f"client-{az}", CLIENT, az, "", "") for az in zones]


def addresses(cluster: Cluster, name: str) -> tuple[str, ...]:
    """A node's address; for ``client-a`` every address that belongs to zone a's clients, used or not."""
    if name in cluster.nodes:
        return (cluster.nodes[name].address,)
    return cluster.client_addresses(name.removeprefix("client-"))
