"""DynamoDB numbers: up to 38 significant digits, magnitude 1E-130 to 9.99...E+125, exact, variable length.

A number travels as text. Its canonical text is plain decimal notation without exponent, leading or trailing zeros;
two equal numbers have one canonical text, which is why it can be compared, hashed and put into a set as it is. Never
a float.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal

from cluster.core.errors import ApiError, RefusedValue

DIGITS_MAX = 38
EXPONENT_MAX = 125
EXPONENT_MIN = -130
OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
TOO_MANY_DIGITS = "Attempting to store more than 38 significant digits in a Number"
NO_NUMBER = "The parameter cannot be converted to a numeric value"

_PLAIN_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,37})\Z")
_NUMBER = re.compile(r"([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?\Z")
_EXPONENT_TEXT_MAX = 19
"""Digits of the greatest exponent that is read at all: it has 64 bits."""
_SCALES = range(-(2**31), 2**31)
"""The older layer's numbers are Java's ``BigDecimal``, whose exponents and scales have 32 bits."""
_EXACT = Context(prec=600, Emax=999999, Emin=-999999)
"""Wide enough that a sum or difference of two legal numbers is never rounded (they span 256 decimal places)."""


def normalise(text: str) -> str:
    """The canonical text of a number. Raises ``ValidationException`` where it is none or out of range."""
    if _PLAIN_INTEGER.match(text):
        return text
    negative, digits, exponent = _split(text)
    return _plain(negative, digits, exponent) if digits else "0"


def _split(text: str) -> tuple[bool, str, int]:
    """``(negative, significant digits, exponent of the first digit)``; no digits for zero."""
    match = _NUMBER.match(text)
    if match is None:
        raise _no_number(text)
    sign, whole, fraction, only_fraction, exponent_text = match.groups()
    whole = whole or ""
    all_digits = whole + (fraction or only_fraction or "")
    digits = all_digits.lstrip("0")
    leading = len(all_digits) - len(digits)
    digits = digits.rstrip("0")
    written = 0 if exponent_text is None else _exponent(exponent_text, text)
    exponent = written + (len(whole) - 1 - leading if digits else 0)
    if not EXPONENT_MIN <= exponent <= EXPONENT_MAX:
        said = OVERFLOW if exponent > EXPONENT_MAX else UNDERFLOW
        if written not in _SCALES or len(all_digits) - len(whole) - written not in _SCALES:
            raise RefusedValue(said, older=_no_number(text).message)
        raise RefusedValue(said, older=said if exponent + 1 in _SCALES else UNDERFLOW)  # it wraps to a small one
    if len(digits) > DIGITS_MAX:
        raise RefusedValue(TOO_MANY_DIGITS)
    return (sign == "-", digits, exponent) if digits else (False, "", 0)


def _exponent(written: str, text: str) -> int:
    """The exponent that a number is written with, of 64 bits; zero is held to its range, too."""
    digits = written.lstrip("+-").lstrip("0")
    exponent = int(digits or 0) if len(digits) <= _EXPONENT_TEXT_MAX else 2**63
    if exponent >= 2**63:
        raise _no_number(text)
    return -exponent if written[0] == "-" else exponent


def _no_number(text: str) -> RefusedValue:
    return RefusedValue(f"{NO_NUMBER}: {text}", older=f"{NO_NUMBER}: {text}" if text else NO_NUMBER)


def _plain(negative: bool, digits: str, exponent: int) -> str:
    if exponent < 0:
        text = "0." + "0" * (-exponent - 1) + digits
    elif len(digits) <= exponent + 1:
        text = digits + "0" * (exponent + 1 - len(digits))
    else:
        text = digits[: exponent + 1] + "." + digits[exponent + 1 :]
    return "-" + text if negative else text


def add(left: str, right: str) -> str:
    """The exact sum of two canonical numbers; raises ``ValidationException`` where DynamoDB cannot hold it."""
    return _result(_EXACT.add(Decimal(left), Decimal(right)))


def subtract(left: str, right: str) -> str:
    """The exact difference of two canonical numbers; raises ``ValidationException`` where DynamoDB cannot hold it."""
    return _result(_EXACT.subtract(Decimal(left), Decimal(right)))


def _result(exact: Decimal) -> str:
    if not exact:
        return "0"  # whatever the exponent that a difference of small numbers leaves
    try:
        return normalise(str(exact))
    except ApiError as error:
        if error.message != TOO_MANY_DIGITS:
            raise
        raise RefusedValue(
            OVERFLOW
        ) from None  # too many digits are told as too large a number, where they were computed


def size(text: str) -> int:
    """Bytes a canonical number counts for: 1, 1 for each 2 significant digits begun on either side of the point, and 1
    for a sign. (The guide speaks of digits as a whole; the service is known to count the two sides apart.)"""
    negative = text[0] == "-"
    whole, _, fraction = text[negative:].partition(".")
    if fraction:
        whole = whole.lstrip("0")
        fraction = fraction if whole else fraction.lstrip("0")
    else:
        whole = whole.rstrip("0")
    return 1 + (len(whole) + 1) // 2 + (len(fraction) + 1) // 2 + negative


def encode_number(text: str) -> bytes:
    """Bytes whose order is the numbers' order; equal numbers encode equally, none is a prefix of another.

    One byte of sign, one of exponent, then pairs of decimal digits (1 to 100 a byte) and a terminator below all of
    them; a negative number has everything after its sign complemented.
    """
    negative, digits, exponent = _split(text)
    if not digits:
        return b"\x02"
    padded = digits + "0" if len(digits) % 2 else digits
    body = bytes([exponent - EXPONENT_MIN, *(int(padded[i : i + 2]) + 1 for i in range(0, len(padded), 2)), 0])
    if negative:
        return b"\x01" + bytes(255 - byte for byte in body)
    return b"\x03" + body


def decode_number(encoded: bytes) -> tuple[str, int]:
    """The number that :func:`encode_number` put at the beginning of these bytes, and how many of them it takes.
    Raises :class:`ValueError` where none is."""
    sign = encoded[0] if encoded else 0
    if sign == 2:
        return "0", 1
    end = encoded.find(b"\0" if sign == 3 else b"\xff", 2)
    if sign not in (1, 3) or end < 0:
        raise ValueError("no encoded number")
    body = encoded[1:end] if sign == 3 else bytes(255 - byte for byte in encoded[1:end])
    digits = "".join(f"{byte - 1:02d}" for byte in body[1:])
    return _plain(sign == 1, digits.rstrip("0"), body[0] + EXPONENT_MIN), end + 1


def hashed_number(text: str) -> bytes:
    """The bytes of a number that DynamoDB's partition hash is made of, which its scan order shows: an exponent of base
    100 and pairs of digits, each plus one; a negative number has them complemented, with a terminator if there is
    room."""
    negative, digits, exponent = _split(text)
    if not digits:
        return b"\x80"
    whole = exponent + 1  # digits before the point
    if whole % 2:
        digits, whole = "0" + digits, whole + 1
    if len(digits) % 2:
        digits += "0"
    pairs = [int(digits[at : at + 2]) for at in range(0, len(digits), 2)]
    scale = (whole // 2 - 64) & 0xFF
    if not negative:
        return bytes((scale, *(pair + 1 for pair in pairs)))
    ending = (102,) if len(pairs) < 20 else ()
    return bytes((scale ^ 0xFF, *(101 - pair for pair in pairs), *ending))
