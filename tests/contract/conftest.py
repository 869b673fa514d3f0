"""Contract tests: written from AWS's documented behaviour, for any endpoint.

``pytest tests/contract --endpoint http://127.0.0.1:8000`` runs them against that implementation, with the
credentials and region of the usual AWS environment variables. Without it they run against our API layer over a dict
(``in_process``).
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).parent))

import in_process

Refusal = Callable[..., Any]
MAKE_TRIES = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--endpoint", default=None, help="URL of the DynamoDB implementation to test")
    parser.addoption(
        "--during-outage",
        action="store_true",
        help="a fault is under way: 500, 503 and throttling skip the test that met them, any other wrong answer fails",
    )


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL under test and the client's credentials."""
    url = request.config.getoption("--endpoint", default=None)
    if url is not None:
        yield (
            url,
            {
                "aws_access_key_id": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
                "aws_secret_access_key": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
                "region_name": os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")),
            },
        )
        return
    server = in_process.Server()
    yield (
        server.url,
        {
            "aws_access_key_id": in_process.ACCESS_KEY,
            "aws_secret_access_key": in_process.SECRET_KEY,
            "region_name": in_process.REGION,
        },
    )
    server.stop()


OUTAGE_STATUSES = frozenset((500, 503))
THROTTLED = frozenset(("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"))


def skip_outages(http_response: Any, parsed: dict[str, Any], **more: Any) -> None:
    """The three answers that a caller must expect while a zone is dark end the test that met them, and no other do."""
    code = parsed.get("Error", {}).get("Code", "")
    if http_response.status_code in OUTAGE_STATUSES or code in THROTTLED:
        pytest.skip(f"outage: {http_response.status_code} {code}")


@pytest.fixture(scope="session")
def dynamodb(endpoint: tuple[str, dict[str, str]], request: pytest.FixtureRequest) -> Any:
    """A boto3 client that neither retries nor validates parameters: the server's own answers are what is tested."""
    url, credentials = endpoint
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    client = boto3.client("dynamodb", endpoint_url=url, config=config, **credentials)
    if request.config.getoption("--during-outage", default=False):
        client.meta.events.register("after-call.dynamodb", skip_outages)
    return client


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    """Table names never used before, in this run or another."""
    stem = f"contract-{os.getpid()}-{os.urandom(3).hex()}"
    return (f"{stem}-{number}" for number in itertools.count())


def make_table(dynamodb: Any, name: str, sort: str | None) -> None:
    """A table that a whole session shares; in an outage, as soon as the control plane can make one."""
    for tries_left in range(MAKE_TRIES, -1, -1):
        try:
            _make_table(dynamodb, name, sort)
            return
        except pytest.skip.Exception:
            if not tries_left:
                raise
            time.sleep(1)
        except dynamodb.exceptions.ResourceInUseException:
            dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
            return


def _make_table(dynamodb: Any, name: str, sort: str | None) -> None:
    schema = [{"AttributeName": "pk", "KeyType": "HASH"}]
    attributes = [{"AttributeName": "pk", "AttributeType": "S"}]
    if sort is not None:
        schema.append({"AttributeName": "sk", "KeyType": "RANGE"})
        attributes.append({"AttributeName": "sk", "AttributeType": sort})
    dynamodb.create_table(
        TableName=name, KeySchema=schema, AttributeDefinitions=attributes, BillingMode="PAY_PER_REQUEST"
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@pytest.fixture(scope="session")
def table(dynamodb: Any, names: Iterator[str]) -> Iterator[str]:
    """A table with a hash key ``pk`` (S)."""
    name = next(names)
    make_table(dynamodb, name, None)
    yield name
    dynamodb.delete_table(TableName=name)


@pytest.fixture(scope="session")
def sorted_table(dynamodb: Any, names: Iterator[str]) -> Iterator[str]:
    """A table with a hash key ``pk`` (S) and a range key ``sk`` (N)."""
    name = next(names)
    make_table(dynamodb, name, "N")
    yield name
    dynamodb.delete_table(TableName=name)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A key no other test uses."""
    return {"pk": {"S": f"{request.node.name}-{os.urandom(4).hex()}"}}


@pytest.fixture
def refused() -> Any:
    """``with refused("ValidationException", "pattern") as answer``: the call inside fails like that; text by regex."""

    @contextmanager
    def expect(code: str, pattern: str = "") -> Iterator[dict[str, Any]]:
        answer: dict[str, Any] = {}
        with pytest.raises(ClientError) as failure:
            yield answer
        answer.update(failure.value.response)
        assert answer["Error"]["Code"] == code, answer["Error"]
        assert re.search(pattern, answer["Error"]["Message"]), answer["Error"]["Message"]

    return expect
