"""Time to live: what UpdateTimeToLive makes of a table's setting, and what DescribeTimeToLive shows of it.

Unlike AWS, a setting may be changed again at once: a game day has no half hour to wait.
"""

from __future__ import annotations

from typing import Any

from cluster.core.errors import invalid
from cluster.core.expiry import Setting

__all__ = ["Setting", "change", "describe"]


def change(setting: Setting | None, attribute: str, enabled: bool) -> Setting:
    """The setting after a request; raises ``ValidationException`` where it would change nothing, or two things."""
    if setting is None or not setting.enabled:
        if not enabled:
            raise invalid("TimeToLive is already disabled")
    elif setting.attribute != attribute:
        raise invalid(
            f"TimeToLive is active on a different AttributeName: current AttributeName is {setting.attribute}"
        )
    elif enabled:
        raise invalid("TimeToLive is already enabled")
    return Setting(attribute, enabled)


def describe(setting: Setting | None) -> dict[str, Any]:
    """``TimeToLiveDescription``."""
    if setting is None or (setting.settled and not setting.enabled):
        return {"TimeToLiveStatus": "DISABLED"}
    moving = "ENABLING" if setting.enabled else "DISABLING"
    return {"TimeToLiveStatus": "ENABLED" if setting.settled else moving, "AttributeName": setting.attribute}
