"""ExecuteStatement, BatchExecuteStatement and ExecuteTransaction: PartiQL as the developer guide describes it."""

from __future__ import annotations

import os
from typing import Any

import pytest


@pytest.fixture
def pk() -> str:
    return f"partiql-{os.urandom(4).hex()}"


def run(dynamodb: Any, statement: str, *parameters: Any, **more: Any) -> Any:
    given = {"Parameters": list(parameters)} if parameters else {}
    return dynamodb.execute_statement(Statement=statement, **given, **more)


def items(dynamodb: Any, statement: str, *parameters: Any, **more: Any) -> Any:
    return run(dynamodb, statement, *parameters, ConsistentRead=True, **more)["Items"]


def stored(dynamodb: Any, table: str, pk: str, sk: int | None = None) -> Any:
    key: dict[str, Any] = {"pk": {"S": pk}}
    if sk is not None:
        key["sk"] = {"N": str(sk)}
    return dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")


def test_insert_select_update_delete(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    insert = (
        f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}', 'n': 1, 'l': [1, 'two', {{'k': TRUE}}], 's': <<'a', 'b'>>}}"
    )
    assert run(dynamodb, insert)["Items"] == []
    item = {"pk": {"S": pk}, "n": {"N": "1"}, "l": {"L": [{"N": "1"}, {"S": "two"}, {"M": {"k": {"BOOL": True}}}]}}
    item["s"] = {"SS": ["a", "b"]}
    assert stored(dynamodb, table, pk) == item
    with refused("DuplicateItemException", "^Duplicate primary key exists in table$"):
        run(dynamodb, insert)
    assert items(dynamodb, f"SELECT * FROM \"{table}\" WHERE pk = '{pk}'") == [item]
    run(dynamodb, f"UPDATE \"{table}\" SET n = n + 2 SET l = list_append(l, [4]) REMOVE s WHERE pk = '{pk}'")
    changed = stored(dynamodb, table, pk)
    assert (changed["n"], len(changed["l"]["L"]), "s" in changed) == ({"N": "3"}, 4, False)
    gone = run(dynamodb, f"DELETE FROM \"{table}\" WHERE pk = '{pk}' RETURNING ALL OLD *")
    assert gone["Items"] == [changed]
    assert stored(dynamodb, table, pk) is None
    assert run(dynamodb, f"DELETE FROM \"{table}\" WHERE pk = '{pk}'")["Items"] == []
    with refused("ConditionalCheckFailedException", "^The conditional request failed$"):
        run(dynamodb, f"UPDATE \"{table}\" SET n = 1 WHERE pk = '{pk}'")


def test_parameters_stand_anywhere_a_value_does(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    run(dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'm': {{'in': ?}}}}", {"S": pk}, {"SS": ["x"]})
    assert stored(dynamodb, table, pk) == {"pk": {"S": pk}, "m": {"M": {"in": {"SS": ["x"]}}}}
    found = items(dynamodb, f'SELECT * FROM "{table}" WHERE pk = ? AND m."in" = ?', {"S": pk}, {"SS": ["x"]})
    assert len(found) == 1
    for parameters in ((), ({"S": pk}, {"S": "more"})):
        with refused("ValidationException", "Number of parameters in request and statement don't match"):
            run(dynamodb, f'SELECT * FROM "{table}" WHERE pk = ?', *parameters)


@pytest.mark.parametrize(
    ("returning", "shown"),
    [
        ("ALL OLD", {"a": {"N": "1"}, "b": {"N": "2"}}),
        ("ALL NEW", {"a": {"N": "9"}, "b": {"N": "2"}}),
        ("MODIFIED OLD", {"a": {"N": "1"}}),
        ("MODIFIED NEW", {"a": {"N": "9"}}),
    ],
)
def test_returning(dynamodb: Any, table: str, pk: str, returning: str, shown: dict[str, Any]) -> None:
    run(dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}', 'a': 1, 'b': 2}}")
    answer = run(dynamodb, f"UPDATE \"{table}\" SET a = 9 WHERE pk = '{pk}' RETURNING {returning} *")
    expected = {"pk": {"S": pk}, **shown} if returning.startswith("ALL") else shown
    assert answer["Items"] == [expected]


def test_an_empty_return_is_no_item(dynamodb: Any, table: str, pk: str) -> None:
    run(dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}', 'a': 1}}")
    assert run(dynamodb, f"UPDATE \"{table}\" REMOVE a WHERE pk = '{pk}' RETURNING MODIFIED NEW *")["Items"] == []


@pytest.fixture(scope="module")
def shelf(dynamodb: Any, sorted_table: str) -> str:
    """A collection of six items."""
    pk = f"shelf-{os.urandom(4).hex()}"
    for number in range(6):
        item: dict[str, Any] = {"pk": {"S": pk}, "sk": {"N": str(number)}, "even": {"BOOL": number % 2 == 0}}
        item["name"] = {"S": f"item-{number}"}
        item["doc"] = {"M": {"deep": {"L": [{"N": str(number)}, {"S": "x"}]}}}
        if number == 3:
            item["rare"] = {"NULL": True}
        dynamodb.put_item(TableName=sorted_table, Item=item)
    return pk


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("", "012345"),
        ("AND sk = 2", "2"),
        ("AND sk > 3", "45"),
        ("AND 3 < sk", "45"),
        ("AND sk BETWEEN 1 AND 3", "123"),
        ("AND sk NOT BETWEEN 1 AND 3", "045"),
        ("AND sk IN [1, 4]", "14"),
        ("AND sk IN (1, 4, 9)", "14"),
        ("AND even = TRUE", "024"),
        ("AND NOT even = TRUE", "135"),
        ("AND even != TRUE", "135"),
        ("AND (sk = 0 OR sk = 5)", "05"),
        ("AND (sk < 2 AND even = FALSE OR name = 'item-4')", "14"),
        ("AND begins_with(name, 'item-')", "012345"),
        ("AND contains(name, '-3')", "3"),
        ("AND rare IS NOT MISSING", "3"),
        ("AND rare IS MISSING AND sk > 2", "45"),
        ("AND rare IS NULL", "3"),
        ("AND attribute_type(doc, 'M')", "012345"),
        ("AND size(doc.deep) = 2 AND doc.deep[0] >= 4", "45"),
        ("AND doc.deep[0] <> 0", "12345"),
    ],
)
def test_conditions(dynamodb: Any, sorted_table: str, shelf: str, where: str, numbers: str) -> None:
    found = items(dynamodb, f"SELECT sk FROM \"{sorted_table}\" WHERE pk = '{shelf}' {where}")
    assert "".join(item["sk"]["N"] for item in found) == numbers
    assert all(list(item) == ["sk"] for item in found)


def test_columns(dynamodb: Any, sorted_table: str, shelf: str) -> None:
    statement = f"SELECT name, doc.deep, doc.deep[1], nowhere FROM \"{sorted_table}\" WHERE pk = '{shelf}' AND sk = 1"
    (item,) = items(dynamodb, statement)
    assert item == {"name": {"S": "item-1"}, "deep": {"L": [{"N": "1"}, {"S": "x"}]}, "_3": {"S": "x"}}


def test_order(dynamodb: Any, sorted_table: str, shelf: str, refused: Any) -> None:
    select = f"SELECT sk FROM \"{sorted_table}\" WHERE pk = '{shelf}'"
    found = items(dynamodb, f"{select} ORDER BY sk DESC")
    assert "".join(item["sk"]["N"] for item in found) == "543210"
    with refused("ValidationException", "ORDER BY clause must be part of the primary key"):
        items(dynamodb, f"{select} ORDER BY name")
    with refused("ValidationException", "when using ORDER BY clause"):
        items(dynamodb, f'SELECT * FROM "{sorted_table}" ORDER BY sk')


@pytest.mark.parametrize("order", ["", " ORDER BY sk DESC"])
def test_pages(dynamodb: Any, sorted_table: str, shelf: str, order: str, refused: Any) -> None:
    statement = f"SELECT sk FROM \"{sorted_table}\" WHERE pk = '{shelf}' AND even = TRUE{order}"
    found: list[str] = []
    token: dict[str, str] = {}
    for _ in range(10):
        page = run(dynamodb, statement, Limit=2, ConsistentRead=True, **token)
        found += [item["sk"]["N"] for item in page["Items"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert "".join(found) == ("420" if order else "024")
    with refused("ValidationException", "NextToken"):
        run(dynamodb, statement.replace("TRUE", "FALSE"), NextToken=token["NextToken"])
    with refused("ValidationException", "NextToken"):
        run(dynamodb, statement, NextToken="junk")


def test_several_collections_by_in(dynamodb: Any, sorted_table: str, shelf: str, pk: str) -> None:
    for number in range(2):
        run(dynamodb, f"INSERT INTO \"{sorted_table}\" VALUE {{'pk': '{pk}', 'sk': {number}}}")
    statement = f'SELECT * FROM "{sorted_table}" WHERE pk IN [?, ?, ?] AND sk < 2'
    keys = ({"S": shelf}, {"S": "nobody"}, {"S": pk})
    assert [item["sk"]["N"] for item in items(dynamodb, statement, *keys)] == ["0", "1", "0", "1"]
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = run(dynamodb, statement, *keys, Limit=1, ConsistentRead=True, **token)
        found += [item["sk"]["N"] for item in page["Items"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert found == ["0", "1", "0", "1"]


def test_without_a_key_everything_is_looked_at(dynamodb: Any, sorted_table: str, shelf: str) -> None:
    found = items(dynamodb, f"SELECT * FROM \"{sorted_table}\" WHERE name = 'item-2' OR (pk = '{shelf}' AND sk = 5)")
    mine = [item["sk"]["N"] for item in found if item["pk"] == {"S": shelf}]
    assert sorted(mine) == ["2", "5"]


def test_conditions_on_writes(dynamodb: Any, sorted_table: str, pk: str, refused: Any) -> None:
    table = f'"{sorted_table}"'
    run(dynamodb, f"INSERT INTO {table} VALUE {{'pk': '{pk}', 'sk': 1, 'tags': <<'a'>>, 'n': 5}}")
    with refused("ConditionalCheckFailedException") as answer:
        run(
            dynamodb,
            f"UPDATE {table} SET n = 6 WHERE pk = '{pk}' AND sk = 1 AND n > 5",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert answer["Item"]["n"] == {"N": "5"}
    run(
        dynamodb,
        f"UPDATE {table} SET tags = set_add(tags, <<'b'>>) WHERE pk = '{pk}' AND sk = 1 AND tags = ?",
        {"SS": ["a"]},
    )
    assert sorted(stored(dynamodb, sorted_table, pk, 1)["tags"]["SS"]) == ["a", "b"]
    run(dynamodb, f"UPDATE {table} SET tags = set_delete(tags, <<'a'>>) WHERE sk = 1 AND '{pk}' = pk")
    assert stored(dynamodb, sorted_table, pk, 1)["tags"] == {"SS": ["b"]}
    for statement in (
        f"UPDATE {table} SET n = 1 WHERE pk = '{pk}'",
        f"DELETE FROM {table} WHERE pk = '{pk}' AND sk > 0",
        f"DELETE FROM {table} WHERE pk = '{pk}' OR sk = 1",
    ):
        with refused("ValidationException", "does not contain a mandatory equality on all key attributes"):
            run(dynamodb, statement)
    with refused("ConditionalCheckFailedException"):
        run(dynamodb, f"DELETE FROM {table} WHERE pk = '{pk}' AND sk = 1 AND n = 0")
    with refused("ValidationException", "part of the key"):
        run(dynamodb, f"UPDATE {table} SET sk = 2 WHERE pk = '{pk}' AND sk = 1")


@pytest.mark.parametrize(
    ("statement", "pattern"),
    [
        ("SELECTT * FROM t", "^Statement wasn't well formed, can't be processed: Expected data manipulation$"),
        ("", "length"),
        ('SELECT * FROM "T', "^Statement wasn't well formed, can't be processed"),
        ('SELECT * FROM "T" WHERE pk = \'x', "^Statement wasn't well formed, can't be processed"),
        ('SELECT * FROM "T" WHERE', "^Statement wasn't well formed"),
        ('SELECT * FROM "T" WHERE pk', "^Statement wasn't well formed"),
        ('SELECT * FROM "T" nonsense', "^Aliasing is not supported$"),
        ('SELECT * FROM "T"."a"."b"', "^A path may contain at most 2 components in the FROM clause$"),
        ("SELECT * FROM \"\" WHERE pk = 'p'", "^Path component cannot be an empty string$"),
        ('SELECT * FROM "T"."" WHERE pk = \'p\'', "^Path component cannot be an empty string$"),
        (
            'SELECT * FROM "nowhere" WHERE v < TRUE',
            "^Incorrect operand type for operator or function; operator or function: <, operand type: BOOL$",
        ),
        (
            'SELECT * FROM "nowhere" WHERE v BETWEEN TRUE AND FALSE',
            "operator or function: BETWEEN, operand type: BOOL$",
        ),
        (
            "DELETE FROM \"T\" WHERE pk = 'x' RETURNING MODIFIED OLD *",
            r"^Invalid returning clause: RETURNING MODIFIED OLD \*\. Only RETURNING ALL OLD \* is allowed in DELETE "
            r"statements\.$",
        ),
        ("UPDATE \"T\" WHERE pk = 'x'", "^Statement wasn't well formed"),
        ("INSERT INTO \"T\" VALUE 'x'", "Inserting"),
        ('SELECT * FROM "T" WHERE nothing(a) = 1', "^Unrecognized function: nothing at 1:"),
        ('SELECT * FROM "T" WHERE ' + "(" * 200 + "a = 1" + ")" * 200, "nested too deeply"),
        ("INSERT INTO \"T\" VALUE {'a': " + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
    ],
)
def test_statements_that_cannot_be(dynamodb: Any, table: str, refused: Any, statement: str, pattern: str) -> None:
    with refused("ValidationException", pattern):
        run(dynamodb, statement.replace('"T"', f'"{table}"'))


def test_a_table_that_does_not_exist(dynamodb: Any, refused: Any) -> None:
    with refused("ResourceNotFoundException", "^Requested resource not found"):
        run(dynamodb, "SELECT * FROM \"no-such-table\" WHERE pk = 'x'")


def test_no_such_index(dynamodb: Any, table: str, refused: Any) -> None:
    for index in ("none", table):
        with refused("ValidationException", "^The table does not have the specified index$"):
            run(dynamodb, f'SELECT * FROM "{table}"."{index}" WHERE pk = \'x\'')


def test_capacity(dynamodb: Any, table: str, pk: str) -> None:
    insert = run(dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}'}}", ReturnConsumedCapacity="TOTAL")
    assert insert["ConsumedCapacity"] == {"TableName": table, "CapacityUnits": 1.0}
    select = f"SELECT * FROM \"{table}\" WHERE pk = '{pk}'"
    for consistent, units in ((False, 0.5), (True, 1.0)):
        answer = run(dynamodb, select, ReturnConsumedCapacity="TOTAL", ConsistentRead=consistent)
        assert answer["ConsumedCapacity"]["CapacityUnits"] == units


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}, {"SS": ["a"]}),
        ({"NS": ["1", "2"]}, {"NS": ["2", "1"]}, {"NS": ["3"]}),
        ({"L": [{"S": "a"}, {"S": "b"}]}, {"L": [{"S": "a"}, {"S": "b"}]}, {"L": [{"S": "b"}, {"S": "a"}]}),
        ({"M": {"x": {"N": "1"}}}, {"M": {"x": {"N": "1.0"}}}, {"M": {"x": {"N": "2"}}}),
        ({"B": b"\x01\x02"}, {"B": b"\x01\x02"}, {"B": b"\x01"}),
        ({"NULL": True}, {"NULL": True}, {"S": "no"}),
    ],
)
def test_equality_of_every_type(dynamodb: Any, table: str, pk: str, value: Any, same: Any, other: Any) -> None:
    dynamodb.put_item(TableName=table, Item={"pk": {"S": pk}, "v": value})
    for operator, operand, holds in (("=", same, 1), ("=", other, 0), ("<>", same, 0), ("<>", other, 1)):
        found = items(dynamodb, f'SELECT pk FROM "{table}" WHERE pk = ? AND v {operator} ?', {"S": pk}, operand)
        assert len(found) == holds


def test_batches_carry_out_each_statement_by_itself(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    run(dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}', 'n': 1}}")
    answer = dynamodb.batch_execute_statement(
        Statements=[
            {"Statement": f"SELECT n FROM \"{table}\" WHERE pk = '{pk}'", "ConsistentRead": True},
            {"Statement": f"SELECT n FROM \"{table}\" WHERE pk = 'nobody'"},
            {"Statement": "SELECT * FROM \"no-such-table\" WHERE pk = 'x'"},
            {"Statement": f'SLECT * FROM "{table}"'},
            {"Statement": f'SELECT * FROM "{table}" WHERE n = 1'},
        ],
        ReturnConsumedCapacity="TOTAL",
    )
    first, second, third, fourth, fifth = answer["Responses"]
    assert first == {"TableName": table, "Item": {"n": {"N": "1"}}}
    assert second == {"TableName": table}
    assert third["Error"]["Code"] == "ResourceNotFound"
    assert fourth["Error"] == {
        "Code": "ValidationError",
        "Message": "Statement wasn't well formed, can't be processed: Expected data manipulation",
    }
    assert "must specify the primary key in the where clause" in fifth["Error"]["Message"]
    assert sum(entry["CapacityUnits"] for entry in answer["ConsumedCapacity"]) == 1.5
    answer = dynamodb.batch_execute_statement(
        Statements=[
            {"Statement": f"UPDATE \"{table}\" SET n = 2 WHERE pk = '{pk}' RETURNING ALL NEW *"},
            {"Statement": f"INSERT INTO \"{table}\" VALUE {{'pk': '{pk}-2'}}"},
            {"Statement": f"DELETE FROM \"{table}\" WHERE pk = '{pk}' AND n = 1"},
            {"Statement": f"DELETE FROM \"{table}\" WHERE pk = '{pk}-3' AND n = 1"},
            {"Statement": f'DELETE FROM "{table}" WHERE n = 1'},
            {"Statement": "DELETE FROM \"contract-nothing\" WHERE pk = 'x'"},
        ]
    )
    assert answer["Responses"][0]["Item"] == {"pk": {"S": pk}, "n": {"N": "2"}}
    assert answer["Responses"][1] == {"TableName": table}
    failed, absent, keyless, tableless = answer["Responses"][2:]
    assert (failed["Error"]["Code"], failed["TableName"]) == ("ConditionalCheckFailed", table)
    assert absent == {"TableName": table}, "what is not there is deleted, whatever else is said of it"
    assert (keyless["Error"]["Code"], tableless["Error"]["Code"]) == ("ValidationError", "ResourceNotFound")
    assert "TableName" not in keyless | tableless, "a statement that did not run is told without its table"
    assert stored(dynamodb, table, f"{pk}-2") is not None
    with refused("ValidationException"):
        dynamodb.batch_execute_statement(Statements=[])


def test_transactions(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    table_name = f'"{table}"'

    def transact(*statements: str, **more: Any) -> Any:
        return dynamodb.execute_transaction(TransactStatements=[{"Statement": one} for one in statements], **more)

    transact(f"INSERT INTO {table_name} VALUE {{'pk': '{pk}', 'n': 0}}")
    token = os.urandom(8).hex()
    for _ in range(2):
        transact(
            f"UPDATE {table_name} SET n = n + 1 WHERE pk = '{pk}'",
            f"EXISTS(SELECT * FROM {table_name} WHERE pk = '{pk}-other' AND n IS MISSING)"
            if stored(dynamodb, table, f"{pk}-other")
            else f"INSERT INTO {table_name} VALUE {{'pk': '{pk}-third'}}",
            ClientRequestToken=token,
        )
    assert stored(dynamodb, table, pk)["n"] == {"N": "1"}
    with refused("TransactionCanceledException", r"\[DuplicateItem, None\]$") as answer:
        transact(
            f"INSERT INTO {table_name} VALUE {{'pk': '{pk}'}}", f"INSERT INTO {table_name} VALUE {{'pk': '{pk}-4'}}"
        )
    assert [reason["Code"] for reason in answer["CancellationReasons"]] == ["DuplicateItem", "None"]
    assert stored(dynamodb, table, f"{pk}-4") is None
    with refused("TransactionCanceledException", r"\[None, ConditionalCheckFailed\]$"):
        transact(
            f"DELETE FROM {table_name} WHERE pk = '{pk}'",
            f"EXISTS(SELECT * FROM {table_name} WHERE pk = '{pk}-nobody' AND attribute_exists(pk))",
        )
    with refused("ValidationException", r"^Validation failed in TransactStatements\[1\]: EXISTS\(\) must contain a"):
        transact(
            f"DELETE FROM {table_name} WHERE pk = '{pk}'",
            f"EXISTS(SELECT * FROM {table_name} WHERE pk = '{pk}')",
        )
    assert stored(dynamodb, table, pk) is not None
    read = transact(
        f"SELECT n FROM {table_name} WHERE pk = '{pk}'",
        f"SELECT * FROM {table_name} WHERE pk = '{pk}-nobody'",
        f"SELECT * FROM {table_name} WHERE pk = '{pk}-third' AND n = 1",
    )
    assert read["Responses"] == [{"Item": {"n": {"N": "1"}}}, {}, {}]
    for statement, text in (
        (
            f"UPDATE {table_name} SET n = 1 WHERE pk = '{pk}' RETURNING ALL NEW *",
            r"^Validation failed in TransactStatements\[0\]: RETURNING clause is not supported in "
            r"ExecuteTransaction\.$",
        ),
        (
            f"SELECT * FROM {table_name}.\"gsi\" WHERE pk = 'x'",
            r"^Validation failed in TransactStatements\[0\]: Reads on indices are not supported within transactions\.$",
        ),
    ):
        with refused("ValidationException", text):
            transact(statement)
    with refused("ValidationException"):
        dynamodb.execute_transaction(TransactStatements=[])


@pytest.fixture(scope="module")
def indexed(dynamodb: Any, names: Any) -> Any:
    """A table with indexes of each kind and projection, and four items of which one is in no index."""
    name = next(names)

    def index(kind: str, hash_name: str, sort: str | None, **projection: Any) -> dict[str, Any]:
        keys = [{"AttributeName": hash_name, "KeyType": "HASH"}]
        keys += [{"AttributeName": sort, "KeyType": "RANGE"}] if sort else []
        return {"IndexName": kind, "KeySchema": keys, "Projection": projection}

    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "g", "l")],
        GlobalSecondaryIndexes=[
            index("gsi-keys", "g", None, ProjectionType="KEYS_ONLY"),
            index("gsi-inc", "g", None, ProjectionType="INCLUDE", NonKeyAttributes=["inc"]),
        ],
        LocalSecondaryIndexes=[index("lsi-keys", "pk", "l", ProjectionType="KEYS_ONLY")],
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    for number in range(4):
        text = {attribute: {"S": f"{attribute}{number}"} for attribute in ("sk", "l", "inc", "other")}
        item = {"pk": {"S": "p"}, "g": {"S": "x"}, **text}
        if number == 3:
            del item["g"], item["l"]
        dynamodb.put_item(TableName=name, Item=item)
    for _ in range(100):
        if len(run(dynamodb, f'SELECT pk FROM "{name}"."gsi-inc" WHERE g = \'x\'')["Items"]) == 3:
            break
    yield name
    dynamodb.delete_table(TableName=name)


def test_an_index_shows_what_is_in_it(dynamodb: Any, indexed: str, refused: Any) -> None:
    def attributes(statement: str) -> list[list[str]]:
        return [sorted(item) for item in run(dynamodb, statement)["Items"]]

    assert attributes(f'SELECT * FROM "{indexed}"."gsi-keys" WHERE g = \'x\'') == [["g", "pk", "sk"]] * 3
    assert attributes(f'SELECT * FROM "{indexed}"."gsi-inc" WHERE g = \'x\'') == [["g", "inc", "pk", "sk"]] * 3
    assert attributes(f'SELECT * FROM "{indexed}"."lsi-keys" WHERE pk = \'p\'') == [["l", "pk", "sk"]] * 3
    assert attributes(f'SELECT other FROM "{indexed}"."lsi-keys" WHERE pk = \'p\'') == [["other"]] * 3
    assert len(attributes(f"SELECT pk FROM \"{indexed}\".\"gsi-inc\" WHERE g = 'x' AND inc = 'inc1'")) == 1
    assert attributes(f'SELECT pk FROM "{indexed}"."gsi-inc" WHERE other = \'other1\'') == []
    assert len(attributes(f'SELECT pk FROM "{indexed}"."gsi-inc" WHERE NOT other = \'other1\'')) == 3
    filtered = (
        "^One or more parameter values were invalid: Secondary index {} does not project one or more filter "
        r"attributes: \[other\]$"
    )
    for condition in ("other = 'x'", "other IS MISSING", "begins_with(other, 'o')", "NOT other = 'x'"):
        with refused("ValidationException", filtered.format("gsi-inc")):
            run(dynamodb, f"SELECT pk FROM \"{indexed}\".\"gsi-inc\" WHERE g IN ['x', 'y'] AND {condition}")
        with refused("ValidationException", filtered.format("lsi-keys")):
            run(dynamodb, f"SELECT pk FROM \"{indexed}\".\"lsi-keys\" WHERE pk = 'p' AND l > 'a' AND {condition}")
    with refused("ValidationException", r"Global secondary index gsi-inc does not project \[other\]$"):
        run(dynamodb, f'SELECT other FROM "{indexed}"."gsi-inc" WHERE g = \'x\'')
    with refused("ValidationException", "^Strongly consistent read is not supported on Global Secondary Indexes$"):
        items(dynamodb, f'SELECT * FROM "{indexed}"."gsi-keys" WHERE g = \'x\'')


def test_an_index_is_walked_where_its_key_is_not_named(dynamodb: Any, indexed: str) -> None:
    """Then a filter sees what the index has, and nothing else of the items."""

    def found(index: str, where: str = "") -> list[str]:
        shown = run(dynamodb, f'SELECT sk FROM "{indexed}"."{index}"{where}', ConsistentRead=index == "lsi-keys")
        return sorted(item["sk"]["S"] for item in shown["Items"])

    for index in ("gsi-keys", "gsi-inc", "lsi-keys"):
        assert found(index) == ["sk0", "sk1", "sk2"]
        assert found(index, " WHERE sk = 'sk1'") == ["sk1"]
        assert found(index, " WHERE other = 'other1'") == []
        assert found(index, " WHERE NOT other = 'other1'") == ["sk0", "sk1", "sk2"]
    assert found("gsi-inc", " WHERE inc = 'inc2'") == ["sk2"]
    shown = run(dynamodb, f'SELECT inc FROM "{indexed}"."lsi-keys" WHERE NOT other = \'other1\'')["Items"]
    assert len(shown) == 3


def test_an_index_is_read_in_pages(dynamodb: Any, indexed: str) -> None:
    for source, where in (("gsi-keys", "g = 'x'"), ("lsi-keys", "pk = 'p'"), ("lsi-keys", "l > 'l'")):
        found: list[str] = []
        token: dict[str, str] = {}
        for _ in range(20):
            page = run(dynamodb, f'SELECT sk FROM "{indexed}"."{source}" WHERE {where}', Limit=1, **token)
            found += [item["sk"]["S"] for item in page["Items"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        assert sorted(found) == ["sk0", "sk1", "sk2"], source
