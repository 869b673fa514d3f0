"""aiobotocore: many requests at once over a few connections."""

from __future__ import annotations

import asyncio
import os
import uuid

import aiobotocore
from aiobotocore.session import get_session

name = f"aio-{uuid.uuid4().hex[:8]}"


async def main() -> None:
    async with get_session().create_client("dynamodb", endpoint_url=os.environ["ENDPOINT"]) as client:
        await client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        await client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        try:
            await asyncio.gather(
                *(
                    client.update_item(
                        TableName=name,
                        Key={"pk": {"S": "counter"}},
                        UpdateExpression="ADD n :one",
                        ExpressionAttributeValues={":one": {"N": "1"}},
                    )
                    for _ in range(50)
                )
            )
            answer = await client.get_item(TableName=name, Key={"pk": {"S": "counter"}}, ConsistentRead=True)
            assert answer["Item"]["n"] == {"N": "50"}, answer
            await asyncio.gather(*(client.put_item(TableName=name, Item={"pk": {"S": f"item-{n}"}}) for n in range(30)))
            count = 0
            async for page in client.get_paginator("scan").paginate(TableName=name, Limit=10, ConsistentRead=True):
                count += page["Count"]
            assert count == 31, count
        finally:
            await client.delete_table(TableName=name)


asyncio.run(main())
print("aiobotocore", aiobotocore.__version__)
