"""``python -m cluster.node --config /etc/blackstart/node.json``: one node as a process."""

import gc
import sys


def start() -> int:
    """Load the node's code and run it; the exit status.

    Nothing that is loaded is ever let go of, so that a collector which looks for garbage meanwhile finds none: it is a
    fifth of a node's start, and a cluster starts two dozen nodes at once. The node turns it on when it serves.
    """
    gc.disable()
    from cluster.node.launch import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
