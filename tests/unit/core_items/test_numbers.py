"""Numbers: canonical text, range, exact arithmetic, size, and an encoding whose order is theirs."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import numbers
from cluster.core.errors import ApiError

EXACT = Context(prec=600)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("007", "7"),
        ("1.50", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-12.3400", "-12.34"),
        ("1e3", "1000"),
        ("1.5E-3", "0.0015"),
        ("100e-2", "1"),
        ("1E125", "1" + "0" * 125),
        ("1E-130", "0." + "0" * 129 + "1"),
        ("0e125", "0"),
        ("9" * 38, "9" * 38),
        ("9" * 38 + "0" * 20, "9" * 38 + "0" * 20),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert numbers.normalise(text) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The parameter cannot be converted to a numeric value: "),
        ("abc", "The parameter cannot be converted to a numeric value: abc"),
        ("1 ", "The parameter cannot be converted to a numeric value: 1 "),
        ("1\n", "The parameter cannot be converted to a numeric value: 1\n"),
        ("0x10", "The parameter cannot be converted to a numeric value: 0x10"),
        ("NaN", "The parameter cannot be converted to a numeric value: NaN"),
        ("\u0661", "The parameter cannot be converted to a numeric value: \u0661"),
        (".", "The parameter cannot be converted to a numeric value: ."),
        ("1E126", "Number overflow. Attempting to store a number with magnitude larger than supported range"),
        ("-1E126", "Number overflow. Attempting to store a number with magnitude larger than supported range"),
        ("1E-131", "Number underflow. Attempting to store a number with magnitude smaller than supported range"),
        (
            "1E99999999999999",
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ),
        (
            "1E-99999999999999",
            "Number underflow. Attempting to store a number with magnitude smaller than supported range",
        ),
        ("1" * 39, "Attempting to store more than 38 significant digits in a Number"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        numbers.normalise(text)
    assert refused.value.kind == "ValidationException"
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 1),
        ("1", 2),
        ("-1", 3),
        ("12", 2),
        ("123", 3),
        ("1000", 2),
        ("0.5", 2),
        ("3.14159", 5),
        ("123456", 4),
        ("10.05", 3),
        ("0.001", 2),
        ("-0.05", 3),
        ("1" + "0" * 125, 2),
    ],
)
def test_size(text: str, size: int) -> None:
    assert numbers.size(text) == size


def legal_numbers() -> st.SearchStrategy[str]:
    """Every magnitude and length that DynamoDB holds, as canonical text."""
    digits = st.integers(min_value=0, max_value=10**38 - 1)
    places = st.integers(min_value=-130, max_value=125)

    def make(value: int, exponent: int, negative: bool) -> str:
        text = str(value)
        return numbers.normalise(f"{'-' if negative else ''}{text[0]}.{text[1:] or '0'}E{exponent}")

    return st.builds(make, digits, places, st.booleans())


@given(legal_numbers())
def test_a_canonical_number_is_its_own_canonical_text_and_keeps_its_value(text: str) -> None:
    assert numbers.normalise(text) == text
    assert "E" not in text
    scientific = f"{Decimal(text):E}"
    assert numbers.normalise(scientific) == text


@given(legal_numbers(), legal_numbers())
def test_encoding_keeps_order_and_equality(left: str, right: str) -> None:
    one, other = numbers.encode_number(left), numbers.encode_number(right)
    assert (one < other) == (Decimal(left) < Decimal(right))
    assert (one == other) == (Decimal(left) == Decimal(right))
    assert one == other or not one.startswith(other)


@given(legal_numbers(), legal_numbers())
def test_sums_are_exact_or_refused(left: str, right: str) -> None:
    exact = EXACT.add(Decimal(left), Decimal(right))
    try:
        total = numbers.add(left, right)
    except ApiError:
        significant = len(exact.normalize(EXACT).as_tuple().digits)
        assert significant > 38 or not -130 <= exact.adjusted() <= 125
    else:
        assert Decimal(total) == exact
        assert numbers.subtract(total, right) == left


@given(st.text(max_size=60))
def test_no_text_does_anything_but_normalise_or_refuse(text: str) -> None:
    try:
        canonical = numbers.normalise(text)
    except ApiError:
        return
    assert numbers.normalise(canonical) == canonical
