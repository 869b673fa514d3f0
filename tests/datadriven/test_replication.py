"""The protocol as scripts: ``testdata/*.txt``, each an exchange that a person can read and check against the theory."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import run_file

FILES = sorted((Path(__file__).parent / "testdata").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_script(path: Path, pytestconfig: pytest.Config) -> None:
    before = path.read_text()
    after = run_file(before)
    if pytestconfig.getoption("--rewrite"):
        path.write_text(after)
    assert after == before, "the exchange has changed; read the difference, and if it is right run with --rewrite"
