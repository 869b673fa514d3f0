"""An engine that takes a request and never answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests.exceptions

from cluster.runtime.base import RuntimeFailed
from cluster.runtime.dockerapi import Engine


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Engine]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        client = Engine(base_url=f"unix://{tmp_path}/sock", version="1.41", timeout=0.2)
        yield client
        client.close()


def test_silence_is_told_with_the_request_that_met_it(mute: Engine) -> None:
    with pytest.raises(RuntimeFailed, match=r"did not answer within 0.2 s \(GET /v1.41/containers/json"):
        mute.containers()


def test_a_limit_of_the_callers_own_stays_his(mute: Engine) -> None:
    with pytest.raises(requests.exceptions.ReadTimeout):
        mute.wait("container", timeout=0.1)
