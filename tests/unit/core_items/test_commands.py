"""What a leader decides: every kind of command over an item that is there, and one that is not."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec
import pytest

from cluster.core.commands import Clause, Command, Decision, Outcome, evaluate
from cluster.core.expressions.legacy import AttributeUpdate
from cluster.core.items import ITEM_BYTES_MAX, Codec, image_body, image_size, item_size, pack_image
from cluster.wire.json import CODEC, encode

ITEM: dict[str, Any] = {"pk": {"S": "k"}, "n": {"N": "1"}, "s": {"S": "x"}}
KEY = b"key"


def image_of(item: dict[str, Any]) -> bytes:
    return pack_image(item_size(item), encode(item))


def never(*_: Any) -> NoReturn:
    raise AssertionError("an image was decoded or encoded")


NO_CODEC = Codec(never, never)
CURRENT = image_of(ITEM)
NEW = {"pk": {"S": "k"}, "other": {"BOOL": True}}


def returned(decision: Decision) -> Any:
    attributes = decision.outcome.attributes
    return None if attributes is None else json.loads(attributes)


@pytest.mark.parametrize("returns", ["NONE", "ALL_OLD"])
@pytest.mark.parametrize("current", [None, CURRENT])
def test_a_plain_put_decodes_nothing(returns: str, current: bytes | None) -> None:
    command = Command("put", "t", KEY, image=image_of(NEW), returns=returns)
    decision = evaluate(command, current, NO_CODEC)
    assert decision.write
    assert decision.image == command.image
    assert returned(decision) == (ITEM if returns == "ALL_OLD" and current else None)
    assert decision.outcome.size_before == (image_size(CURRENT) if current else 0)
    assert decision.outcome.size_after == item_size(NEW)


@pytest.mark.parametrize("returns", ["NONE", "ALL_OLD"])
@pytest.mark.parametrize("current", [None, CURRENT])
def test_a_plain_delete_decodes_nothing_and_writes_only_what_there_is(returns: str, current: bytes | None) -> None:
    decision = evaluate(Command("delete", "t", KEY, returns=returns), current, NO_CODEC)
    assert decision.write is (current is not None)
    assert decision.image is None
    assert returned(decision) == (ITEM if returns == "ALL_OLD" and current else None)
    assert decision.outcome.size_after == 0


@pytest.mark.parametrize("current", [None, CURRENT])
def test_a_get_decodes_nothing(current: bytes | None) -> None:
    decision = evaluate(Command("get", "t", KEY, consistent=True), current, NO_CODEC)
    assert not decision.write
    assert returned(decision) == (ITEM if current else None)


@pytest.mark.parametrize("on_failure", ["NONE", "ALL_OLD"])
@pytest.mark.parametrize("kind", ["put", "delete", "update"])
def test_a_failed_condition_writes_nothing_and_shows_the_item_if_asked(kind: str, on_failure: str) -> None:
    command = Command(
        kind,
        "t",
        KEY,
        image=image_of(NEW) if kind == "put" else None,
        key_image=encode({"pk": {"S": "k"}}),
        condition=Clause("n = :v", None, {":v": {"N": "2"}}),
        on_failure=on_failure,
    )
    decision = evaluate(command, CURRENT, CODEC)
    assert not decision.write
    assert decision.image == CURRENT
    assert decision.outcome.error == "ConditionalCheckFailedException"
    assert decision.outcome.message == "The conditional request failed"
    assert returned(decision) == (ITEM if on_failure == "ALL_OLD" else None)
    absent = evaluate(command, None, CODEC)
    assert absent.outcome.error == "ConditionalCheckFailedException"
    assert returned(absent) is None


def test_a_condition_that_holds() -> None:
    command = Command("put", "t", KEY, image=image_of(NEW), condition=Clause("attribute_not_exists(pk)", None, None))
    assert evaluate(command, None, CODEC).write
    assert not evaluate(command, CURRENT, CODEC).write


def update(text: str | None, values: dict[str, Any] | None = None, returns: str = "NONE") -> Command:
    clause = None if text is None else Clause(text, None, values)
    return Command("update", "t", KEY, key_image=encode({"pk": {"S": "k"}}), update=clause, returns=returns)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("REMOVE n", None),
        ("REMOVE n, m.x, l[0]", None),
        ("DELETE s :v", {":v": {"SS": ["x"]}}),
        ("REMOVE n DELETE s :v", {":v": {"SS": ["x"]}}),
    ],
)
@pytest.mark.parametrize("returns", ["NONE", "ALL_NEW", "UPDATED_NEW", "ALL_OLD"])
def test_an_update_that_only_takes_away_makes_no_item(text: str, values: dict[str, Any] | None, returns: str) -> None:
    assert evaluate(update(text, values, returns), None, CODEC) == Decision(False, None, Outcome())


def test_an_attribute_update_that_only_takes_away_makes_no_item() -> None:
    gone = (AttributeUpdate("n", "DELETE"), AttributeUpdate("s", "DELETE", {"SS": ["x"]}))
    command = update(None)._replace(attribute_updates=gone)
    assert evaluate(command, None, CODEC) == Decision(False, None, Outcome())
    made = evaluate(command._replace(attribute_updates=(*gone, AttributeUpdate("a", "PUT", {"S": "x"}))), None, CODEC)
    assert made.write


def test_a_path_that_leads_nowhere_is_a_mistake_in_what_exists_or_is_made() -> None:
    assert evaluate(update("REMOVE m.x"), CURRENT, CODEC).outcome.error == "ValidationException"
    assert evaluate(update("SET m.x = n"), None, CODEC).outcome.error == "ValidationException"
    made = evaluate(update("REMOVE m.x SET a = :v", {":v": {"S": "x"}}, "ALL_NEW"), None, CODEC)
    assert returned(made)["a"] == {"S": "x"}


@pytest.mark.parametrize(
    ("returns", "existing", "absent"),
    [
        ("NONE", None, None),
        ("ALL_OLD", ITEM, None),
        ("ALL_NEW", {**ITEM, "n": {"N": "5"}}, {"pk": {"S": "k"}, "n": {"N": "5"}}),
        ("UPDATED_OLD", {"n": {"N": "1"}}, None),
        ("UPDATED_NEW", {"n": {"N": "5"}}, {"n": {"N": "5"}}),
    ],
)
def test_updates_return_what_they_are_asked_for(returns: str, existing: Any, absent: Any) -> None:
    command = update("SET n = :v", {":v": {"N": "5"}}, returns)
    over = evaluate(command, CURRENT, CODEC)
    assert over.write
    assert over.image is not None
    assert json.loads(image_body(over.image)) == {**ITEM, "n": {"N": "5"}}
    assert image_size(over.image) == item_size(ITEM) == over.outcome.size_after
    assert returned(over) == existing
    assert returned(evaluate(command, None, CODEC)) == absent


def test_an_update_of_nothing_makes_the_key() -> None:
    decision = evaluate(update(None), None, CODEC)
    assert decision.image is not None
    assert json.loads(image_body(decision.image)) == {"pk": {"S": "k"}}


def test_an_update_that_cannot_be_carried_out_is_an_outcome_not_an_exception() -> None:
    decision = evaluate(update("SET n = s + :v", {":v": {"N": "5"}}), CURRENT, CODEC)
    assert not decision.write
    assert decision.image == CURRENT
    assert decision.outcome.error == "ValidationException"
    assert decision.outcome.message == "An operand in the update expression has an incorrect data type"


def test_an_item_may_not_grow_beyond_400_kb() -> None:
    exact = ITEM_BYTES_MAX - item_size(ITEM) - len("p")
    fits = evaluate(update("SET p = :p", {":p": {"S": "x" * exact}}), CURRENT, CODEC)
    assert fits.write
    grown = evaluate(update("SET p = :p", {":p": {"S": "x" * (exact + 1)}}), CURRENT, CODEC)
    assert grown.outcome.message == "Item size to update has exceeded the maximum allowed size"
    assert not grown.write


def test_commands_and_outcomes_travel_as_msgpack() -> None:
    command = Command(
        "update",
        "t",
        b"\x00\xff",
        key_image=b"{}",
        condition=Clause("a = :v", {"#a": "b"}, {":v": {"L": [{"N": "1"}]}}),
        update=Clause("SET a = :v", None, {":v": {"S": "x"}}),
        returns="ALL_NEW",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=Command) == command
    outcome = Outcome(b'{"a":1}', "ValidationException", "text", 5, 6)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome) == outcome
