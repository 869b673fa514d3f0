"""Who may ask at all: SigV4 as any client meets it."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aws_access_key_id": "AKIANOBODY"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
    ],
)
def test_strangers_are_refused(
    endpoint: tuple[str, dict[str, str]], refused: Any, changed: dict[str, str], code: str
) -> None:
    url, credentials = endpoint
    config = Config(retries={"total_max_attempts": 1})
    stranger = boto3.client("dynamodb", endpoint_url=url, config=config, **{**credentials, **changed})
    with refused(code):
        stranger.list_tables()


def test_the_resource_interface_works(endpoint: tuple[str, dict[str, str]], table: str) -> None:
    url, credentials = endpoint
    things = boto3.resource("dynamodb", endpoint_url=url, **credentials).Table(table)
    things.put_item(Item={"pk": "resource", "n": 5, "tags": {"a", "b"}, "doc": {"list": [1, None, True, b"x"]}})
    things.update_item(
        Key={"pk": "resource"}, UpdateExpression="SET n = n + :one", ExpressionAttributeValues={":one": 1}
    )
    item = things.get_item(Key={"pk": "resource"}, ConsistentRead=True)["Item"]
    assert item["n"] == 6
    assert item["tags"] == {"a", "b"}
