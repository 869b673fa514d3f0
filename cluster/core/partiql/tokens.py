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

    @property
    def keyword(self) -> str:
        """The upper-case word, or empty for anything that is none."""
        return self.text.upper() if self.kind == "word" else ""


END = Token("end", "")


class StatementError(ApiError):
    """A statement that cannot be read."""

    def __init__(self, detail: str = "") -> None:
        tail = f": {detail}" if detail else ""
        super().__init__("ValidationException", f"Statement wasn't well formed, can't be processed{tail}")


def tokenize(text: str) -> list[Token]:
    """Tokens of a statement, :data:`END` last. Raises :class:`StatementError`."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at] in "\"'":
                raise StatementError
            raise StatementError(f"Invalid character at position {at + 1}")
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        found = match[0]
        if kind in ("quoted", "string"):
            quote = found[0]
            found = found[1:-1].replace(quote * 2, quote)
        tokens.append(Token(kind, found))
    tokens.append(END)
    return tokens
