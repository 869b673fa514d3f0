"""The text of nftables transactions: what is cut on the host's bridge. Pure.

Every fault has a table of its own in the bridge family, named after the cluster and the fault, so that undoing it
cannot touch a rule of anybody else. One transaction is atomic: a whole zone is cut between one packet and the next.
Elements carry a ``timeout``: the kernel lifts the fault by itself once nobody renews it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

_NAME = re.compile(r"^bs[0-9a-f]{6}_[a-z0-9]{1,16}$")
PRIORITY = -150
"""Before anything that accepts; bridge filters of other programs commonly sit at -200 (marking) or 0."""

AddressPair = tuple[str, str]


def table_name(cluster: str, fault: str) -> str:
    """The table of one fault. Raises ValueError for what nft would read as something else."""
    name = f"{cluster}_{fault}"
    if not _NAME.match(name):
        raise ValueError(f"'{name}' cannot name an nft table")
    return name


NEW_ONLY = "tcp flags & (syn | ack) == syn "
"""The first packet of a connection: dropping it keeps new ones from coming about, and leaves those there are alone."""


def cut_pairs(table: str, pairs: Iterable[AddressPair], timeout_s: float, *, new_only: bool = False) -> str:
    """Drop what goes from the first to the second address of each pair; ``new_only``: what begins a connection."""
    return (
        replace_table(table)
        + f"""table bridge {table} {{
    set cut {{ type ipv4_addr . ipv4_addr; flags timeout; elements = {{ {pair_elements(pairs, timeout_s)} }} }}
    chain forward {{
        type filter hook forward priority {PRIORITY}; policy accept;
        ip saddr . ip daddr @cut {NEW_ONLY if new_only else ""}counter drop
    }}
}}
"""
    )


def reset_inside(table: str, arriving: Iterable[AddressPair], leaving: Iterable[AddressPair], timeout_s: float) -> str:
    """For one node's own network namespace: answer what arrives, and what leaves, with a TCP reset.

    The bridge family cannot reject. Loopback is left alone: the reset for a packet that never left comes back that way.
    A reset is let through, or it would be met by the peer's own rule and nobody would hear it. What is not TCP is
    dropped.
    """
    chains, sets = [], []
    for hook, interface, pairs in (("input", "iifname", list(arriving)), ("output", "oifname", list(leaving))):
        if not pairs:
            continue
        sets.append(
            f"    set {hook} {{ type ipv4_addr . ipv4_addr; flags timeout; "
            f"elements = {{ {pair_elements(pairs, timeout_s)} }} }}\n"
        )
        chains.append(
            f"""    chain {hook}_chain {{
        type filter hook {hook} priority {PRIORITY}; policy accept;
        {interface} "lo" accept
        tcp flags & rst == rst accept
        ip saddr . ip daddr @{hook} meta l4proto tcp counter reject with tcp reset
        ip saddr . ip daddr @{hook} counter drop
    }}
"""
        )
    return replace_table(table, "ip") + f"table ip {table} {{\n{''.join(sets)}{''.join(chains)}}}\n"


def silence(table: str, addresses: Iterable[str], timeout_s: float) -> str:
    """Drop everything from and to the addresses, ARP included, as a machine without power does: peers see silence.

    The input and output hooks are for the host itself, whose published ports and controller would else see a reset.
    """
    rules = "\n".join(
        f"        {match} @dark counter drop" for match in ("ip saddr", "ip daddr", "arp saddr ip", "arp daddr ip")
    )
    chains = "\n".join(
        f"    chain {hook} {{\n        type filter hook {hook} priority {PRIORITY}; policy accept;\n{rules}\n    }}"
        for hook in ("forward", "input", "output")
    )
    return (
        replace_table(table)
        + f"""table bridge {table} {{
    set dark {{ type ipv4_addr; flags timeout; elements = {{ {address_elements(addresses, timeout_s)} }} }}
{chains}
}}
"""
    )


def renew_pairs(table: str, pairs: Iterable[AddressPair], timeout_s: float) -> str:
    """Start the pairs' time again. Atomic: no packet passes in between, and elements that lapsed come back."""
    return f"flush set bridge {table} cut\nadd element bridge {table} cut {{ {pair_elements(pairs, timeout_s)} }}\n"


def renew_silence(table: str, addresses: Iterable[str], timeout_s: float) -> str:
    """Start the addresses' time again, atomically."""
    elements = address_elements(addresses, timeout_s)
    return f"flush set bridge {table} dark\nadd element bridge {table} dark {{ {elements} }}\n"


def replace_table(table: str, family: str = "bridge") -> str:
    """Within a transaction: whatever the table held before is gone. Adding first makes the deletion safe."""
    return f"add table {family} {table}\ndelete table {family} {table}\n"


def delete_table(table: str, family: str = "bridge") -> str:
    """Undo. Idempotent."""
    return replace_table(table, family)


def pair_elements(pairs: Iterable[AddressPair], timeout_s: float) -> str:
    left = f"timeout {math.ceil(timeout_s)}s"
    return ", ".join(f"{source} . {target} {left}" for source, target in sorted(pairs))


def address_elements(addresses: Iterable[str], timeout_s: float) -> str:
    left = f"timeout {math.ceil(timeout_s)}s"
    return ", ".join(f"{address} {left}" for address in sorted(addresses))


def packets_dropped(listing: str) -> int:
    """The sum of the counters in the JSON listing of a table (``nft -j list table``)."""
    total = 0
    for item in json.loads(listing).get("nftables", []):
        for statement in item.get("rule", {}).get("expr", []):
            if isinstance(statement, dict) and isinstance(statement.get("counter"), dict):
                total += int(statement["counter"]["packets"])
    return total
