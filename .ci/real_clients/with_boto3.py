"""boto3: the client with its waiters and paginators, and the resource with its own types and batch writer."""

from __future__ import annotations

import os
import uuid
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Attr, Key

name = f"boto3-{uuid.uuid4().hex[:8]}"
client = boto3.client("dynamodb", endpoint_url=os.environ["ENDPOINT"])
resource = boto3.resource("dynamodb", endpoint_url=os.environ["ENDPOINT"])
table = resource.create_table(
    TableName=name,
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"}],
    BillingMode="PAY_PER_REQUEST",
)
table.wait_until_exists()
try:
    with table.batch_writer() as batch:
        for number in range(60):
            batch.put_item({"pk": "a", "sk": number, "big": "x" * 100, "f": Decimal("1.5"), "b": b"\0", "s": {1, 2}})
    teens = Key("pk").eq("a") & Key("sk").between(10, 19)
    found = table.query(KeyConditionExpression=teens, ScanIndexForward=False, ConsistentRead=True)
    assert [int(item["sk"]) for item in found["Items"]] == list(range(19, 9, -1))
    assert found["Items"][0]["s"] == {1, 2}
    assert table.scan(FilterExpression=Attr("sk").lt(5), ConsistentRead=True)["Count"] == 5
    pages = client.get_paginator("query").paginate(
        TableName=name,
        KeyConditionExpression="pk = :a",
        ExpressionAttributeValues={":a": {"S": "a"}},
        ConsistentRead=True,
        PaginationConfig={"PageSize": 7},
    )
    assert sum(page["Count"] for page in pages) == 60
    table.update_item(
        Key={"pk": "a", "sk": 1},
        UpdateExpression="SET f = f + :one",
        ConditionExpression=Attr("f").eq(Decimal("1.5")),
        ExpressionAttributeValues={":one": 1},
    )
    try:
        table.put_item(Item={"pk": "a", "sk": 1}, ConditionExpression=Attr("pk").not_exists())
        raise SystemExit("a failed condition was not told")
    except client.exceptions.ConditionalCheckFailedException:
        pass
    keys = [{"pk": "a", "sk": n} for n in (1, 2, 999)]
    got = resource.batch_get_item(RequestItems={name: {"Keys": keys, "ConsistentRead": True}})
    assert len(got["Responses"][name]) == 2
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": name, "Item": {"pk": {"S": "t"}, "sk": {"N": "1"}}}},
            {"Delete": {"TableName": name, "Key": {"pk": {"S": "a"}, "sk": {"N": "5"}}}},
        ]
    )
    try:
        client.transact_write_items(
            TransactItems=[
                {
                    "ConditionCheck": {
                        "TableName": name,
                        "Key": {"pk": {"S": "t"}, "sk": {"N": "1"}},
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                }
            ]
        )
        raise SystemExit("a cancelled transaction was not told")
    except client.exceptions.TransactionCanceledException as error:
        reasons = [reason["Code"] for reason in error.response["CancellationReasons"]]
    assert reasons == ["ConditionalCheckFailed"]
    rows = client.execute_statement(Statement=f"SELECT sk FROM \"{name}\" WHERE pk = 't'", ConsistentRead=True)["Items"]
    assert rows == [{"sk": {"N": "1"}}]
    assert name in [found for page in client.get_paginator("list_tables").paginate() for found in page["TableNames"]]
finally:
    table.delete()
    table.wait_until_not_exists()
print("boto3", boto3.__version__)
