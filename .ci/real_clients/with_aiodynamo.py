"""aiodynamo: an SDK that shares no code with AWS's: its own signatures, retries and serialisation."""

from __future__ import annotations

import asyncio
import os
import uuid
from importlib.metadata import version

import httpx
from aiodynamo.client import Client
from aiodynamo.credentials import Credentials
from aiodynamo.expressions import F, HashKey, RangeKey
from aiodynamo.http.httpx import HTTPX
from aiodynamo.models import KeySchema, KeySpec, KeyType, PayPerRequest
from yarl import URL

name = f"aiodynamo-{uuid.uuid4().hex[:8]}"


async def main() -> None:
    async with httpx.AsyncClient() as http:
        region = os.environ["AWS_DEFAULT_REGION"]
        client = Client(HTTPX(http), Credentials.auto(), region, URL(os.environ["ENDPOINT"]))
        table = client.table(name)
        schema = KeySchema(KeySpec("pk", KeyType.string), KeySpec("sk", KeyType.number))
        await table.create(PayPerRequest(), schema, wait_for_active=True)
        try:
            for number in range(5):
                await table.put_item({"pk": "a", "sk": number, "text": "héllo", "list": [1, "two", None, True]})
            item = await table.get_item({"pk": "a", "sk": 3}, consistent_read=True)
            assert item["list"] == [1, "two", None, True], item
            await table.update_item({"pk": "a", "sk": 3}, F("count").add(5) & F("text").set("changed"))
            assert (await table.get_item({"pk": "a", "sk": 3}, consistent_read=True))["count"] == 5
            condition = HashKey("pk", "a") & RangeKey("sk").gt(2)
            assert [item["sk"] async for item in table.query(condition, consistent_read=True)] == [3, 4]
            await table.delete_item({"pk": "a", "sk": 0})
            assert await table.count(HashKey("pk", "a"), consistent_read=True) == 4
        finally:
            await table.delete()


asyncio.run(main())
print("aiodynamo", version("aiodynamo"))
