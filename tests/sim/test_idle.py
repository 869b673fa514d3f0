"""What a cluster costs that is asked nothing: how often its nodes are woken, counted exactly, on virtual time.

In containers a wake-up is some 200 µs of a core, whatever it is for. So a node waits for what is to happen and does not
look if it has happened; what has to be done now and then is done together.
"""

from __future__ import annotations

from cluster.node.process import Node
from cluster.sim.deploy import peers
from tests.sim.database import Install, SimDatabase

SECONDS = 20.0
CALLBACKS_PER_S_MAX = 170
"""Of 21 nodes and the archive. A hundred are messages: heartbeats (60), reports (27), MemDS (10)."""
MESSAGES_PER_S_MAX = 100


def idle(install: Install | None = None) -> tuple[float, float]:
    """Callbacks and messages a second of the small topology, once its table is there and at rest."""
    database = SimDatabase(1, install, nodes=peers(clients=False, archive=True))
    with database.sim as sim:
        sim.run_for(20)
        callbacks, messages = sim.loop.callbacks, sim.network.counters.sent
        sim.run_for(SECONDS)
        return (sim.loop.callbacks - callbacks) / SECONDS, (sim.network.counters.sent - messages) / SECONDS


def test_an_idle_cluster_is_woken_for_heartbeats_and_reports_and_little_else() -> None:
    callbacks, messages = idle()
    assert callbacks <= CALLBACKS_PER_S_MAX
    assert messages <= MESSAGES_PER_S_MAX


def test_a_loop_that_polls_is_noticed() -> None:
    def install(node: Node) -> None:
        async def poll() -> None:
            while True:
                await node.world.sleep(0.25)

        if node.config.role == "storage":
            node.world.spawn(poll(), "poll")

    callbacks, _ = idle(install)
    assert callbacks > CALLBACKS_PER_S_MAX
