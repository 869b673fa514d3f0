"""From expression text to tokens, and AWS's wording of a syntax error."""

from __future__ import annotations

import re

from cluster.core.errors import ApiError

EXPRESSION_BYTES_MAX = 4096
EOF = "<EOF>"

_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*|[#:][A-Za-z0-9_]+|[0-9]+|<>|<=|>=|[=<>()\[\],.+\-]")
_SPACE = re.compile(r"[ \t\r\n]*")


class ExpressionError(ApiError):
    """An expression that can never be right. The text has no ``Invalid ...Expression:`` in front yet."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


def tokenize(text: str, *, counted: bool = True) -> tuple[list[str], list[int]]:
    """Tokens and where each starts, ``<EOF>`` last. A character of no token is one by itself, which no rule of the
    grammar takes. Raises :class:`ExpressionError` for text that is empty or too long;
    ``counted``: which says how long it is."""
    if not text.strip():
        raise ExpressionError("The expression can not be empty;")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > EXPRESSION_BYTES_MAX:
        told = f" expression size: {size}" if counted else ""
        raise ExpressionError(f"Expression size has exceeded the maximum allowed size;{told}")
    tokens: list[str] = []
    starts: list[int] = []
    at = _end_of_space(text, 0)
    while at < len(text):
        match = _TOKEN.match(text, at)
        end = at + 1 if match is None else match.end()
        tokens.append(text[at:end])
        starts.append(at)
        at = _end_of_space(text, end)
    tokens.append(EOF)
    starts.append(len(text))
    return tokens, starts


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


def syntax_error(text: str, tokens: list[str], starts: list[int], index: int) -> ExpressionError:
    """``Syntax error; token: "x", near: "..."``: the offending token with one token on either side."""
    first = starts[max(index - 1, 0)]
    after = min(index + 1, len(tokens) - 1)
    last = starts[after] + (len(tokens[after]) if tokens[after] != EOF else 0)
    return ExpressionError(f'Syntax error; token: "{tokens[index]}", near: "{text[first:last].strip()}"')
