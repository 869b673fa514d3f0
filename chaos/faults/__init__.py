"""Faults, one module each: preflight, undo record, inject, verify, renew, heal (see :mod:`chaos.faults.base`)."""

from __future__ import annotations

from chaos.errors import PlatformError
from chaos.faults.base import Fault
from chaos.faults.bitrot import BitRot
from chaos.faults.partition import Partition
from chaos.faults.power_off import PowerOff
from chaos.faults.restart import Restart

FAULTS: dict[str, Fault] = {fault.kind: fault for fault in (PowerOff(), Partition(), Restart(), BitRot())}


def fault_of(kind: str) -> Fault:
    """The fault called ``kind``; a journal may name one that this version does not know."""
    if kind not in FAULTS:
        raise PlatformError(f"there is no fault '{kind}' in this version of Blackstart; it has {', '.join(FAULTS)}")
    return FAULTS[kind]


__all__ = ["FAULTS", "Fault", "fault_of"]
