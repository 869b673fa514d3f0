"""PartiQL: what statements may be made of, and in which words the others are refused."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

MALFORMED = "Statement wasn't well formed, can't be processed: "
LEFTOVER = f"{MALFORMED}Unexpected token after expression"
ALIAS = "Aliasing is not supported"
OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
NO_NUMBER = "The parameter cannot be converted to a numeric value"
TOO_DEEP = (
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
)
NO_KEY = "Where clause does not contain a mandatory equality on all key attributes"


@pytest.fixture
def pk(dynamodb: Any, table: str) -> str:
    """The key of an item with something of everything."""
    name = f"grammar-{os.urandom(4).hex()}"
    item = {
        "pk": {"S": name},
        "n": {"N": "12000"},
        "s": {"S": "four"},
        "ss": {"SS": ["a", "b"]},
        "ns": {"NS": ["1", "2"]},
        "m": {"M": {"in": {"S": "x"}}},
        "nil": {"NULL": True},
        "yes": {"BOOL": True},
    }
    dynamodb.put_item(TableName=table, Item=item)
    return name


def run(dynamodb: Any, statement: str, *parameters: Any) -> Any:
    given = {"Parameters": list(parameters)} if parameters else {}
    return dynamodb.execute_statement(Statement=statement, **given)["Items"]


def stored(dynamodb: Any, table: str, pk: str) -> Any:
    return dynamodb.get_item(TableName=table, Key={"pk": {"S": pk}}, ConsistentRead=True).get("Item")


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("n = 1.2e4", True),
        ("n = .12E+5", True),
        ("n = 12000 -- a remark", True),
        ("n = 12000 /* a remark */", True),
        ('attribute_exists(m."in")', True),
        ("attribute_exists(m.other)", False),
        ("ATTRIBUTE_NOT_EXISTS(other)", True),
        ("NOT attribute_exists(other)", True),
        ("attribute_exists(ss) = true", True),
        ("attribute_exists(ss) <> true", False),
        ("false = attribute_exists(other)", True),
        ("(attribute_exists(other) OR attribute_exists(ss))", True),
        ("nil IS NULL", True),
        ("s IS NOT NULL", True),
        ("yes IS BOOL", True),
        ("s IS STRING", True),
        ("s IS NOT BOOLEAN", True),
        ("n IS DOUBLE PRECISION", True),
        ("n IS LIST", False),
        ("other IS MISSING", True),
    ],
)
def test_conditions(dynamodb: Any, table: str, pk: str, condition: str, found: bool) -> None:
    statement = f"SELECT pk FROM \"{table}\" WHERE pk = '{pk}' AND {condition}"
    assert run(dynamodb, statement) == ([{"pk": {"S": pk}}] if found else [])


def test_functions_of_presence_are_conditions_on_writes(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    where = f"WHERE pk = '{pk}' AND attribute_not_exists(once)"
    run(dynamodb, f'UPDATE "{table}" SET once = 1 {where}')
    for statement in (f'UPDATE "{table}" SET once = 2 {where}', f'DELETE FROM "{table}" {where}'):
        with refused("ConditionalCheckFailedException"):
            run(dynamodb, statement)
    assert stored(dynamodb, table, pk)["once"] == {"N": "1"}
    for several in (
        lambda statement: dynamodb.execute_transaction(TransactStatements=[{"Statement": statement}]),
        lambda statement: dynamodb.batch_execute_statement(Statements=[{"Statement": statement}]),
    ):
        assert "must specify the primary key in the where clause" in said(several, f'SELECT * FROM "{table}" {where}')


def said(send: Any, statement: str) -> str:
    """The refusal of one statement among several, wherever the answer has it."""
    try:
        return str(send(statement)["Responses"][0]["Error"]["Message"])
    except ClientError as error:
        return str(error)


def test_sets_grow_and_shrink(dynamodb: Any, table: str, pk: str, refused: Any) -> None:
    def update(change: str, *parameters: Any) -> Any:
        return run(dynamodb, f"UPDATE \"{table}\" SET {change} WHERE pk = '{pk}' RETURNING ALL NEW *", *parameters)[0]

    assert sorted(update("ss = SET_ADD(ss, <<'c', 'a'>>)")["ss"]["SS"]) == ["a", "b", "c"]
    assert sorted(update("ns = set_add(ns, ?)", {"NS": ["3"]})["ns"]["NS"]) == ["1", "2", "3"]
    assert update("made = set_add(made, <<1>>)")["made"] == {"NS": ["1"]}
    assert "ss" not in update("ss = set_delete(ss, <<'a', 'b', 'c'>>)")
    with refused("ValidationException", exactly("An operand in the update expression has an incorrect data type")):
        update("s = set_add(s, <<'x'>>)")


@pytest.mark.parametrize(
    ("change", "message", "token"),
    [
        ("t = set_add(ss, <<'x'>>)", "The first argument to SET_ADD must equal the assignment value", "set_add"),
        ("ss = set_add(<<'a'>>, <<'x'>>)", "The first argument to SET_ADD must equal the assignment value", "set_add"),
        ("ss = set_delete(ss, 'x')", "The second argument to SET_DELETE must be a value with type SET", "(ss"),
        ("ss = set_add(ss, n)", "The second argument to SET_ADD must be a value with type SET", "(ss"),
        ("ss = set_add(ss)", "SET_ADD must have exactly two arguments", "set_add"),
        ("ss = size(ss)", "Unrecognized function: size", "size"),
    ],
)
def test_refusals_of_changes_say_where(
    dynamodb: Any, table: str, pk: str, refused: Any, change: str, message: str, token: str
) -> None:
    statement = f"UPDATE \"{table}\"\n SET {change} WHERE pk = '{pk}'"
    line = statement.split("\n")[1]
    place = line.index(token) + 1 + token.startswith("(")
    with refused("ValidationException", exactly(f"{message} at 2:{place}:{len(token.lstrip('('))}")):
        run(dynamodb, statement)


@pytest.mark.parametrize("form", ['FROM "{}" WHERE pk = {} {}', 'from "{}" where pk = {} {}'])
def test_updates_may_begin_with_the_table(dynamodb: Any, table: str, pk: str, refused: Any, form: str) -> None:
    assert run(dynamodb, form.format(table, f"'{pk}'", "SET a = 1 REMOVE s")) == []
    item = stored(dynamodb, table, pk)
    assert item["a"] == {"N": "1"}
    assert "s" not in item
    shown = run(dynamodb, form.format(table, f"'{pk}' AND a = 1", "SET a = ? RETURNING MODIFIED NEW *"), {"N": "2"})
    assert shown == [{"a": {"N": "2"}}]
    for key in (f"'{pk}' AND a = 1", f"'{pk}-nobody'"):
        with refused("ConditionalCheckFailedException"):
            run(dynamodb, form.format(table, key, "SET a = 3"))
    assert stored(dynamodb, table, f"{pk}-nobody") is None
    dynamodb.execute_transaction(TransactStatements=[{"Statement": form.format(table, f"'{pk}'", "SET a = 4")}])
    assert stored(dynamodb, table, pk)["a"] == {"N": "4"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT * FROM T WHERE pk = 'x' foo", LEFTOVER),
        ("SELECT * FROM T WHERE n = 1 e5", LEFTOVER),
        ("SELECT * FROM T WHERE pk = 'x')", LEFTOVER),
        ("SELECT * FROM T ORDER BY pk WHERE pk = 'x'", LEFTOVER),
        ("INSERT INTO T VALUE {'pk': 'leftover'} foo", LEFTOVER),
        ("INSERT INTO T t VALUE {'pk': 'leftover'}", LEFTOVER),
        ("UPDATE T SET a = 9 WHERE pk = 'leftover' foo", LEFTOVER),
        ("DELETE FROM T WHERE pk = 'leftover' ORDER BY pk", LEFTOVER),
        ("FROM T SET a = 1 WHERE pk = 'leftover'", LEFTOVER),
        ("SELECT * FROM T t WHERE pk = 'x'", ALIAS),
        ("SELECT * FROM T AS t WHERE pk = 'x'", ALIAS),
        ("UPDATE T t SET a = 9 WHERE pk = 'leftover'", ALIAS),
        ("DELETE FROM T t WHERE pk = 'leftover'", ALIAS),
        ("SELECT * FROM T WHERE n = 1e2147483648", MALFORMED),
        ("SELECT * FROM T WHERE n = 1e" + "9" * 900, MALFORMED),
        ("SELECT * FROM T WHERE n = 1.5e-2147483647", MALFORMED),
        ("SELECT * FROM T WHERE n = 1 # remark", MALFORMED),
        ("SELECT * FROM T WHERE n = 1 /* remark", MALFORMED),
        ("SELECT * FROM T WHERE n = 1e126", f"{OVERFLOW} under root"),
        ("SELECT * FROM T WHERE n = -1e-131", f"{UNDERFLOW} under root"),
        ("SELECT * FROM T WHERE pk = [1, {'x': 1e126}]", f"{OVERFLOW} under root[1].x"),
        ("INSERT INTO T VALUE {'pk': 'leftover', 'n': 1e126}", f"{OVERFLOW} under root"),
        ("INSERT INTO T VALUE {'pk': 'leftover', 'm': {'x': [1, 1e126]}}", f"{OVERFLOW} under root.x[1]"),
        ("SELECT * FROM T WHERE", f"{MALFORMED}Unexpected term"),
        ("SELECT * FROM T WHERE;", f"{MALFORMED}Unexpected term"),
        ("SELECT * FROM T WHERE NOT", f"{MALFORMED}Unexpected term"),
        ("SELECT * FROM T WHERE (", f"{MALFORMED}Unexpected term"),
        ("SELECT * FROM", f"{MALFORMED}Unexpected term"),
        ("SELECT * FROM T WHERE pk = 'x' AND", f"{MALFORMED}Missing right-hand side expression of infix operator"),
        ("SELECT * FROM T WHERE ORDER BY pk", f"{MALFORMED}Unexpected keyword"),
        ("SELECT * FROM T WHERE IS NULL", f"{MALFORMED}Unexpected operator"),
        ("SELECT * FROM T WHERE pk = LIKE", f"{MALFORMED}Unexpected operator"),
        ("SELECT * FROM T WHERE pk = 'x' AND n IS FOO", f"{MALFORMED}Expected type name"),
        ("DELETE FROM", f"{MALFORMED}Expected identifier for simple path"),
        ("DELETE FROM WHERE pk = 'x'", f"{MALFORMED}Expected identifier for simple path"),
        ("SELECT * FROM T WHERE attribute_exists(m.inner)", f"{MALFORMED}Invalid path dot component"),
        ("FROM T SET a = 1", NO_KEY),
        ("FROM T WHERE n = 1 REMOVE a", NO_KEY),
        ("UPDATE T SET ss = set_add(ss, <<>>) WHERE pk = 'leftover'", "Empty bags are not supported"),
        (
            "SELECT * FROM T WHERE attribute_exists('ss')",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "SELECT * FROM T WHERE attribute_exists()",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of "
            "operands: 0",
        ),
        (
            "UPDATE T SET ss = set_add(ss, <<'x', 'x'>>) WHERE pk = 'leftover'",
            "One or more parameter values were invalid: Input collection [x, x] contains duplicates.",
        ),
    ],
)
def test_statements_that_cannot_be_read(dynamodb: Any, table: str, refused: Any, statement: str, message: str) -> None:
    with refused("ValidationException", exactly(message)):
        run(dynamodb, statement.replace(" T", f' "{table}"', 1))
    assert stored(dynamodb, table, "leftover") is None


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('SELECT attribute_exists(ss) FROM "{}"', "Unexpected path component at 1:{}:16"),
        ('SELECT * FROM "{}" WHERE EXISTS(ss)', "Unrecognized function: exists at 1:{}:6"),
        ('SELECT * FROM "{}" WHERE set_add(ss, <<1>>) = ss', "Unrecognized function: set_add at 1:{}:7"),
        ("INSERT INTO \"{}\" VALUE {{'pk': set_add(1, 2)}}", "Unsupported data type: set_add under key root at 1:{}:7"),
    ],
)
def test_functions_where_there_are_none(dynamodb: Any, table: str, refused: Any, statement: str, message: str) -> None:
    full = statement.format(table)
    place = full.index("(") - int(message.rsplit(":", 1)[1]) + 1
    with refused("ValidationException", exactly(message.format(place))):
        run(dynamodb, full)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("1e99999999999", f"{NO_NUMBER}: 1e99999999999"),
        ("1e2147483648", f"{NO_NUMBER}: 1e2147483648"),
        ("1e-2147483648", f"{NO_NUMBER}: 1e-2147483648"),
        ("1e2147483647", UNDERFLOW),
        ("", NO_NUMBER),
        ("1e126", OVERFLOW),
    ],
)
def test_numbers_as_parameters(dynamodb: Any, table: str, refused: Any, number: str, message: str) -> None:
    """They are read in another way than those of PutItem; several statements are not told which of them it was."""
    select = f"SELECT * FROM \"{table}\" WHERE pk = 'x' AND n = ?"
    update = f"UPDATE \"{table}\" SET n = ? WHERE pk = 'x'"
    for value in ({"N": number}, {"L": [{"N": number}]}, {"NS": ["1", number]}):
        for statement in (select, update):
            with refused("ValidationException", exactly(message)):
                run(dynamodb, statement, value)
        with refused("ValidationException", exactly(message)):
            dynamodb.execute_transaction(TransactStatements=[{"Statement": update, "Parameters": [value]}])
        answer = dynamodb.batch_execute_statement(Statements=[{"Statement": select, "Parameters": [value]}])
        assert answer["Responses"][0]["Error"] == {"Code": "ValidationError", "Message": message}


def test_a_transaction_of_writes_answers_with_no_responses(dynamodb: Any, table: str, pk: str) -> None:
    statement = {"Statement": f"UPDATE \"{table}\" SET n = 1 WHERE pk = '{pk}'"}
    answer = dynamodb.execute_transaction(TransactStatements=[statement], ReturnConsumedCapacity="TOTAL")
    assert answer["Responses"] == []
    assert [entry["TableName"] for entry in answer["ConsumedCapacity"]] == [table]


def test_indexes_of_several_attributes_are_not_for_statements(dynamodb: Any, names: Any, refused: Any) -> None:
    name = next(names)
    keys = {"single": [("c", "HASH")], "double": [("b", "HASH"), ("c", "HASH")]}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in "abc"],
        KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [{"AttributeName": one, "KeyType": kind} for one, kind in schema],
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, schema in keys.items()
        ],
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    message = "^PartiQL statements cannot be executed on tables with multi-attribute HASH keys"
    for statement in (f'SELECT * FROM "{name}"."double"', f'SELECT * FROM "{name}"."double" WHERE b = 5'):
        with refused("ValidationException", message):
            run(dynamodb, statement)
    assert run(dynamodb, f'SELECT * FROM "{name}"."single" WHERE c = \'x\'') == []
    answer = dynamodb.batch_execute_statement(
        Statements=[{"Statement": f"SELECT * FROM \"{name}\".\"double\" WHERE b = 'x' AND c = 'x'"}]
    )
    assert answer["Responses"][0]["Error"]["Message"].startswith(message[1:])
    dynamodb.delete_table(TableName=name)
