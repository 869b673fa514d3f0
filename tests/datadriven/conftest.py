"""``--rewrite`` writes what the scripts print now into their files. Rewrite only what you can explain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="rewrite tests/datadriven/testdata with the present output")
