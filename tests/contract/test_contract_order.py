"""What is told first of a request with several things wrong: members' constraints, then actions in their order."""

from __future__ import annotations

from typing import Any

import pytest

ONE = "1 validation error detected: "
CAPACITY = (
    "Value 'MUCH' at 'returnConsumedCapacity' failed to satisfy constraint: Member must satisfy enum value set: "
    "[INDEXES, TOTAL, NONE]"
)
EMPTY_TABLE = "Value '' at 'tableName' failed to satisfy constraint: Member must have length greater than or equal to 1"
NO_KEY = "Value null at 'key' failed to satisfy constraint: Member must not be null"
NO_TABLES = "failed to satisfy constraint: Map keys must satisfy constraint: "


def exactly(text: str) -> str:
    """A pattern for ``refused``."""
    special = r"\.^$*+?{}[]|()"
    return "^" + "".join("\\" + one if one in special else one for one in text) + "$"


def test_members_of_an_update(dynamodb: Any, refused: Any) -> None:
    update = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}}
    with refused("ValidationException", exactly(ONE + EMPTY_TABLE)):
        dynamodb.update_item(TableName="", Key={}, ReturnValues="SOME", **update)
    with refused("ValidationException", exactly(f"2 validation errors detected: {EMPTY_TABLE}; {NO_KEY}")):
        dynamodb.update_item(TableName="", **update)
    values = (
        "Value 'SOME' at 'returnValues' failed to satisfy constraint: Member must satisfy enum value set: [ALL_NEW, "
        "UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"
    )
    with refused(
        "ValidationException",
        exactly(f"4 validation errors detected: {CAPACITY}; {EMPTY_TABLE}; {values}; {NO_KEY}"),
    ):
        dynamodb.update_item(TableName="", ReturnValues="SOME", ReturnConsumedCapacity="MUCH", **update)
    operator = (
        "Value 'NOR' at 'conditionalOperator' failed to satisfy constraint: Member must satisfy enum value set: "
        "[OR, AND]"
    )
    with refused("ValidationException", exactly(f"2 validation errors detected: {operator}; {NO_KEY}")):
        dynamodb.update_item(
            TableName="contract-nothing",
            ConditionalOperator="NOR",
            Expected={"a": {"Exists": False}, "b": {"Exists": False}},
        )


def test_an_operator_of_a_query_is_told_first_and_alone(dynamodb: Any, refused: Any) -> None:
    tests = {name: {"ComparisonOperator": "NULL"} for name in ("b", "c")}
    key = {"pk": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]}}
    with refused(
        "ValidationException", exactly("Failed to satisfy constraint: Member must satisfy enum value set: [ALL, OR]")
    ):
        dynamodb.query(
            TableName="contract-nothing",
            KeyConditions=key,
            QueryFilter=tests,
            ConditionalOperator="NOR",
            Select="SOME",
        )


def test_tables_of_a_batch(dynamodb: Any, table: str, refused: Any) -> None:
    """A name that is no table's is told with the others by BatchGetItem, and gives way to them in BatchWriteItem."""
    keys = {"Keys": [{"pk": {"S": "x"}}]}
    puts = [{"PutRequest": {"Item": {"pk": {"S": "x"}}}}]
    with refused("ValidationException", "^2 validation errors detected: Value '.*" + exactly(CAPACITY)[1:]) as answer:
        dynamodb.batch_get_item(RequestItems={"no!table": keys}, ReturnConsumedCapacity="MUCH")
    assert NO_TABLES in answer["Error"]["Message"]
    with refused("ValidationException", exactly(ONE + CAPACITY)):
        dynamodb.batch_write_item(RequestItems={"no!table": puts}, ReturnConsumedCapacity="MUCH")
    with refused("ValidationException", NO_TABLES):
        dynamodb.batch_write_item(RequestItems={"no!table": puts})
    for short in ({"ab": keys}, {table: keys, "ab": keys}):
        with refused("ValidationException", NO_TABLES):
            dynamodb.batch_get_item(RequestItems=short)


def test_indexes_that_are_to_be_made(dynamodb: Any, refused: Any) -> None:
    """Global ones are looked at before local ones, wherever the request has them."""

    def index(name: str, *keys: tuple[str, str]) -> dict[str, Any]:
        schema = [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in keys]
        return {"IndexName": name, "KeySchema": schema, "Projection": {"ProjectionType": "ALL"}}

    short = "failed to satisfy constraint: Member must have length greater than or equal to 3"
    said = (
        f"2 validation errors detected: Value 'zz' at 'globalSecondaryIndexes.1.member.indexName' {short}; "
        f"Value 'aa' at 'localSecondaryIndexes.1.member.indexName' {short}"
    )
    with refused("ValidationException", exactly(said)):
        dynamodb.create_table(
            TableName="contract-never",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in "abc"],
            KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}, {"AttributeName": "b", "KeyType": "RANGE"}],
            LocalSecondaryIndexes=[index("aa", ("a", "HASH"), ("c", "RANGE"))],
            GlobalSecondaryIndexes=[index("zz", ("c", "HASH"))],
        )


def test_a_token_is_told_before_what_is_to_be_returned(dynamodb: Any, table: str, refused: Any) -> None:
    token = "t" * 37
    said = f"Value '{token}' at 'clientRequestToken' failed to satisfy constraint: Member must have length less than"
    with refused("ValidationException", f"^2 validation errors detected: {said} or equal to 36; Value 'MUCH'"):
        dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": table, "Item": {"pk": {"S": "x"}}}}],
            ClientRequestToken=token,
            ReturnConsumedCapacity="MUCH",
        )


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(levels):
        value = {"M": {"x": value}}
    return value


NOTHING = "contract-nothing"
KEY = {"pk": {"S": "x"}}
TOO_DEEP = "^Nesting Levels have exceeded supported limits"
SYNTAX = '^Invalid ConditionExpression: Syntax error; token: "=", near: "= = b"$'
UNUSED = "^Value provided in ExpressionAttributeValues unused in expressions: keys: {:u}$"
BAD_SYNTAX = {"ConditionExpression": "a = = b"}
DEEP_PUT = {"Put": {"TableName": NOTHING, "Item": {**KEY, "d": deep(40)}}}
DEEP_KEY = {"Delete": {"TableName": NOTHING, "Key": {"pk": deep(100)}}}
IDLE = {
    "Update": {
        "TableName": NOTHING,
        "Key": KEY,
        "UpdateExpression": "SET a = :v",
        "ExpressionAttributeValues": {":v": {"S": "x"}, ":u": {"S": "y"}},
    }
}
BAD_PUT = {"Put": {"TableName": NOTHING, "Item": KEY, **BAD_SYNTAX}}
LONG_UPDATE = {
    "Update": {
        "TableName": NOTHING,
        "Key": KEY,
        "UpdateExpression": "SET " + ", ".join(f"a{number} = :v" for number in range(500)),
        "ExpressionAttributeValues": {":v": {"S": "x"}},
    }
}
LONG_DELETE = {
    "Delete": {
        **DEEP_KEY["Delete"],
        "ConditionExpression": " AND ".join(["a = :v"] * 400),
        "ExpressionAttributeValues": {":v": {"S": "x"}},
    }
}
TOO_LONG = "Expression: Expression size has exceeded the maximum allowed size;"


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([DEEP_PUT, BAD_PUT], TOO_DEEP),
        ([BAD_PUT, DEEP_PUT], SYNTAX),
        ([DEEP_KEY, IDLE], TOO_DEEP),
        ([IDLE, DEEP_KEY], UNUSED),
        ([{"Delete": {**DEEP_KEY["Delete"], **BAD_SYNTAX}}], SYNTAX),
        ([LONG_DELETE], f"^Invalid Condition{TOO_LONG} expression size: 4395$"),
        ([LONG_UPDATE, DEEP_KEY], f"^Invalid Update{TOO_LONG}$"),
        ([{"Put": {"TableName": NOTHING, "Item": KEY}}, BAD_PUT], SYNTAX),
    ],
)
def test_actions_of_a_transaction_are_looked_at_in_their_order(
    dynamodb: Any, refused: Any, actions: list[dict[str, Any]], message: str
) -> None:
    """The first that has something wrong is told, and of one action its expressions before its values; whether its
    table exists is no matter yet."""
    with refused("ValidationException", message):
        dynamodb.transact_write_items(TransactItems=actions)
