"""From statement text to tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from cluster.core.errors import ApiError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|--[^\n]*|/\*.*?\*/)
    |(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<string>'(?:[^']|'')*')
    |(?P<mark><<|>>|<>|!=|<=|>=|[=<>,.()\[\]{}:+*?;-])""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """``kind`` is ``word quoted string number mark end``; ``text`` without its quotes."""

    kind: str
    text: str
    start: int = 0
    """Where it is in the statement, quotes included."""
    end: int = 0

    @property
    def keyword(self) -> str:
        """The upper-case word, or empty for anything that is none."""
        return self.text.upper() if self.kind == "word" else ""


class StatementError(ApiError):
    """A statement that cannot be read."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("ValidationException", f"Statement wasn't well formed, can't be processed: {detail}")


def tokenize(text: str) -> list[Token]:
    """Tokens of a statement, one of kind ``end`` last. Raises :class:`StatementError`."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise StatementError
        start, at = at, match.end()
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        found = match[0]
        if kind in ("quoted", "string"):
            quote = found[0]
            found = found[1:-1].replace(quote * 2, quote)
        tokens.append(Token(kind, found, start, at))
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens
