"""Every planted bug can be loaded by a process that knows nothing of the others: a controller, or a node."""

from __future__ import annotations

import sys

import pytest

from chaos.plants import DIRECTORY, catalogue, module_of


@pytest.mark.parametrize("name", [plant.name for plant in catalogue()])
def test_it_loads_by_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(DIRECTORY)])
    for other, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(DIRECTORY)):
            monkeypatch.delitem(sys.modules, other)
    module = module_of(name, DIRECTORY)
    assert any(callable(getattr(module, what, None)) for what in ("install", "install_canary", "install_board"))
