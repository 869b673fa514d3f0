"""PynamoDB: models, indexes, conditions, batches and transactions through an object mapper."""

from __future__ import annotations

import os
import time
import uuid
from importlib.metadata import version

from pynamodb.attributes import ListAttribute, NumberAttribute, UnicodeAttribute, UTCDateTimeAttribute
from pynamodb.connection import Connection
from pynamodb.exceptions import PutError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite


class ByColour(GlobalSecondaryIndex):
    class Meta:
        projection = AllProjection()
        index_name = "by-colour"

    colour = UnicodeAttribute(hash_key=True)


class Thing(Model):
    class Meta:
        table_name = f"pynamodb-{uuid.uuid4().hex[:8]}"
        host = os.environ["ENDPOINT"]
        region = os.environ["AWS_DEFAULT_REGION"]
        billing_mode = "PAY_PER_REQUEST"

    owner = UnicodeAttribute(hash_key=True)
    number = NumberAttribute(range_key=True)
    colour = UnicodeAttribute(null=True)
    tags = ListAttribute(of=UnicodeAttribute, default=list)
    when = UTCDateTimeAttribute(null=True)
    by_colour = ByColour()


Thing.create_table(wait=True)
try:
    with Thing.batch_write() as batch:
        for number in range(30):
            batch.save(Thing("me", number, colour="red" if number % 3 else "blue", tags=["t"]))
    assert Thing.count("me", consistent_read=True) == 30
    first = Thing.query("me", Thing.number < 3, scan_index_forward=False, consistent_read=True)
    assert [thing.number for thing in first] == [2, 1, 0]
    thing = Thing.get("me", 4, consistent_read=True)
    thing.update(actions=[Thing.colour.set("green"), Thing.tags.set(Thing.tags.append(["u"]))])
    assert thing.tags == ["t", "u"]
    try:
        Thing("me", 4).save(condition=Thing.owner.does_not_exist())
        raise SystemExit("a failed condition was not told")
    except PutError as error:
        code = error.cause_response_code
    assert code == "ConditionalCheckFailedException"
    with TransactWrite(connection=Connection(region=Thing.Meta.region, host=Thing.Meta.host)) as transaction:
        transaction.save(Thing("you", 1, colour="green"))
        transaction.update(Thing("me", 5), actions=[Thing.colour.set("green")])
    for _ in range(50):  # indexes follow
        greens = sorted((found.owner, found.number) for found in Thing.by_colour.query("green"))
        if len(greens) == 3:
            break
        time.sleep(0.1)
    assert greens == [("me", 4), ("me", 5), ("you", 1)], greens
finally:
    Thing.delete_table()
print("pynamodb", version("pynamodb"))
