"""Attribute values: what is accepted, how it is normalised and counted, and AWS's words for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core import items
from cluster.core.errors import ApiError


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"S": ""},
        {"S": "héllo"},
        {"B": ""},
        {"B": "AQID"},
        {"BOOL": False},
        {"NULL": True},
        {"M": {}},
        {"L": []},
        {"SS": ["a", "b"]},
        {"NS": ["1", "2"]},
        {"BS": ["AQ=="]},
        nested(31),
    ],
)
def test_accepted_as_it_is(value: dict[str, Any]) -> None:
    assert items.normalise_value(value) == value


def test_numbers_are_normalised_at_every_depth() -> None:
    value = {"M": {"a": {"L": [{"N": "1.0"}, {"NS": ["2.50", "1e1"]}]}}}
    assert items.normalise_value(value) == {"M": {"a": {"L": [{"N": "1"}, {"NS": ["2.5", "10"]}]}}}


@pytest.mark.parametrize("text", ["true", "YES", "1", "False", "no", "0"])
def test_texts_are_truth_values(text: str) -> None:
    assert items.normalise_value({"L": [{"BOOL": text}]}) == {"L": [{"BOOL": text.lower() in ("true", "yes", "1")}]}


def test_nulls_beside_a_type_are_as_if_absent() -> None:
    assert items.normalise_value({"S": "x", "N": None, "unheard-of": 1}) == {"S": "x"}


PREFIX = "One or more parameter values were invalid: "


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        ({"S": None}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        ({"X": "x"}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        (
            {"S": "x", "N": "1"},
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes",
        ),
        ({"SS": []}, PREFIX + "An string set  may not be empty"),
        ({"NS": []}, PREFIX + "An number set  may not be empty"),
        ({"BS": []}, PREFIX + "Binary sets should not be empty"),
        ({"SS": ["a", "a"]}, PREFIX + 'Input collection ["a", "a"] contains duplicates.'),
        ({"NS": ["1", "1.0"]}, PREFIX + "Input collection contains duplicates."),
        ({"BS": ["AQ==", "AQ=="]}, PREFIX + 'Input collection ["AQ==","AQ=="]of type BS contains duplicates.'),
        ({"NULL": "no"}, PREFIX + "Null attribute value types must have the value of true"),
        ({"NULL": False}, PREFIX + "Null attribute value types must have the value of true"),
        ({"M": {"": {"N": "1"}}}, "Empty attribute name"),
        ({"N": "x"}, "The parameter cannot be converted to a numeric value: x"),
        (nested(32), items.TOO_DEEP),
        ({"M": {"a": {"N": ""}}}, "The parameter cannot be converted to a numeric value: "),
    ],
)
def test_refused_values(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        items.normalise_value(value)
    assert (refused.value.kind, refused.value.message) == ("ValidationException", message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"S": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"S": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        ({"S": True}, "TRUE_VALUE cannot be converted to String"),
        ({"N": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"BOOL": "maybe"}, "STRING_VALUE cannot be converted to Boolean"),
        (
            {"B": "abc"},
            "'abc' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but "
            "found: 3",
        ),
        ({"B": "a$=="}, "'a$==' can not be converted to a Blob: Invalid Base64 character"),
        ({"B": "AR=="}, "'AR==' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"),
        ({"L": {}}, "Start of structure or map found where not expected."),
        ({"M": []}, "Start of list found where not expected"),
        ([], "Start of list found where not expected"),
    ],
)
def test_wrong_shapes(value: Any, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        items.normalise_value(value)
    assert (refused.value.kind, refused.value.message) == ("SerializationException", message)


def test_size_is_the_developer_guides_example() -> None:
    assert items.item_size({"shirt-color": {"S": "R"}, "shirt-size": {"S": "M"}}) == 23


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "é"}, 2),
        ({"B": "AQI="}, 2),
        ({"B": ""}, 0),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"BOOL": True}]}, 3 + 2 + 3),
        ({"M": {"k": {"S": "ab"}}}, 3 + 1 + 1 + 2),
        ({"SS": ["ab", "c"]}, 3),
        ({"NS": ["1", "-1"]}, 5),
        ({"BS": ["AQ==", "AQI="]}, 3),
    ],
)
def test_value_sizes(value: dict[str, Any], size: int) -> None:
    assert items.value_size(value) == size


def test_an_image_carries_size_and_body() -> None:
    image = items.pack_image(23, b'{"a":{"S":"x"}}')
    assert items.image_size(image) == 23
    assert items.image_body(image) == b'{"a":{"S":"x"}}'
    assert items.shown_image(None) is None
    assert items.image_stamp(image) == 0


@pytest.mark.parametrize("stamp", [1, 1_790_000_000_000_000, 2**56 - 1])
def test_a_stamped_image_carries_its_stamp_too_and_can_be_stamped_again(stamp: int) -> None:
    image = items.stamped(items.stamped(items.pack_image(23, b'{"a":{"S":"x"}}'), 7), stamp)
    assert items.image_stamp(image) == stamp
    assert items.image_size(image) == 23
    assert items.image_body(image) == items.shown_image(image) == b'{"a":{"S":"x"}}'


def test_an_image_of_a_later_version_is_refused() -> None:
    image = b"\x02" + items.pack_image(1, b"{}")[1:]
    for one in (image, items.stamped(image, 5)):
        with pytest.raises(ValueError, match="newer code"):
            items.image_size(one)
