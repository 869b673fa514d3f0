"""A fault by hand: its flags go through the playbook's checks, and mistakes are told in the words of the flags."""

from __future__ import annotations

import pytest

from chaos.commands.fault import one_action_playbook
from chaos.errors import InputError


def playbook(kind: str = "power-off", select: str = "az=b", mode: str = "all", lasting: str = "30s", **more: str):  # type: ignore[no-untyped-def]
    return one_action_playbook(kind, [select], mode, lasting, more.get("options", "{}"), unsafe=False)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"select": "az="}, "--select: 'az=' is not understood"),
        ({"mode": "foo"}, "--mode: 'foo' is not understood"),
        ({"lasting": "xx"}, "--for: 'xx' is not a duration"),
        ({"lasting": "9h"}, "--for: a lease lies between 2s and 10m"),
        ({"kind": "partition", "options": "{kut: zones}"}, "--with kut: unknown field; did you mean 'cut'?"),
        ({"options": "{unsynced:"}, "--with: not valid YAML"),
        ({"kind": "nope"}, "'nope' is none\nThere are power-off"),
        ({"kind": "rolling-restart"}, "'rolling-restart' is a series, for playbooks"),
    ],
)
def test_mistakes_are_told_of_the_flags(flags: dict[str, str], text: str) -> None:
    with pytest.raises(InputError) as refused:
        playbook(**flags)
    assert text in str(refused.value)
    assert "line " not in str(refused.value)
    assert "method[" not in str(refused.value)


def test_a_mistake_that_two_places_share_is_told_once() -> None:
    with pytest.raises(InputError) as refused:
        playbook(lasting="soon")
    assert str(refused.value).count("--for") == 1


@pytest.mark.parametrize(("lasting", "seconds"), [("30s", 30.0), ("1m", 60.0), ("12", 12.0), ("2.5", 2.5)])
def test_how_long(lasting: str, seconds: float) -> None:
    assert playbook(lasting=lasting).safety.lease == seconds
