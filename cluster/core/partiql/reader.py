"""Reading a statement: its tokens one after another, literals, and parameters in their places."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.core import numbers
from cluster.core.errors import ApiError, in_older_words, invalid
from cluster.core.items import Item, Value, normalise_value
from cluster.core.partiql.tokens import StatementError, Token, tokenize

NESTING_MAX = 48
_OPERATORS = frozenset(("IS", "IN", "BETWEEN", "LIKE"))
_KEYWORDS = frozenset(("SELECT", "FROM", "WHERE", "ORDER", "AND", "OR", "SET", "REMOVE", "RETURNING"))
_SCALES = range(-(2**31), 2**31)
"""Digits behind the point that a number may be written with, less its exponent: what Java's ``BigDecimal`` holds."""
_EXPONENT_TEXT_MAX = 11


class Reader:
    """Tokens in their order, and the literals and parameters that they make."""

    def __init__(self, text: str, parameters: Sequence[Value]) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0
        self.parameters = parameters
        self.used = 0
        self.depth = 0
        self.place = ["root"]
        """Where within a literal the value is that is read, as the service names it."""

    # --- tokens ---

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def wrong(self) -> StatementError:
        keyword = self.token.keyword
        return StatementError(
            "Unexpected " + ("operator" if keyword in _OPERATORS else "keyword" if keyword in _KEYWORDS else "term")
        )

    def position(self, token: Token) -> str:
        """Line, column and length of a token, as refusals tell them."""
        line_start = self.text.rfind("\n", 0, token.start) + 1
        line = self.text.count("\n", 0, token.start) + 1
        return f"{line}:{token.start - line_start + 1}:{token.end - token.start}"

    def opens_call(self) -> bool:
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        return self.token.kind == "word" and following.kind == "mark" and following.text == "("

    def take(self, mark: str) -> bool:
        if self.token.kind == "mark" and self.token.text == mark:
            self.at += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            raise self.wrong()

    def take_word(self, *words: str) -> bool:
        """Take these keywords if they all follow, in this order."""
        if all(self.tokens[min(self.at + n, len(self.tokens) - 1)].keyword == word for n, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def expect_word(self, *words: str) -> None:
        if not self.take_word(*words):
            raise self.wrong()

    def enter(self) -> None:
        self.depth += 1
        if self.depth > NESTING_MAX:
            raise StatementError("The statement is nested too deeply")

    def leave(self) -> None:
        self.depth -= 1

    # --- values ---

    def value(self) -> Value | None:
        """A literal or a parameter; None where something else stands."""
        token = self.token
        kind = token.kind
        if kind == "string":
            self.at += 1
            return {"S": token.text}
        if kind == "number":
            self.at += 1
            return self.number(token.text)
        if kind == "word":
            return self.word()
        if kind != "mark":
            return None
        if token.text in "+-" and self.tokens[self.at + 1].kind == "number":
            self.at += 2
            return self.number(token.text + self.tokens[self.at - 1].text)
        if token.text == "?":
            return self.parameter()
        self.enter()
        found = self.collection()
        self.leave()
        return found

    def number(self, text: str) -> Value:
        digits, _, exponent = text.lower().partition("e")
        if len(exponent.lstrip("+-0")) > _EXPONENT_TEXT_MAX:
            raise StatementError
        written = int(exponent or 0)
        if written not in _SCALES or len(digits.partition(".")[2]) - written not in _SCALES:
            raise StatementError
        try:
            return {"N": numbers.normalise(text)}
        except ApiError as error:
            raise invalid(f"{error.message} under {''.join(self.place) or 'root'}") from None

    def within(self, place: str) -> Value:
        """A literal that is part of another one; ``place`` is how refusals tell which."""
        # The parts of an inserted item are values by themselves: each is called root.
        self.place.append(place if self.place else "root")
        found = self.literal()
        self.place.pop()
        return found

    def word(self) -> Value | None:
        for word, value in (("TRUE", {"BOOL": True}), ("FALSE", {"BOOL": False}), ("NULL", {"NULL": True})):
            if self.take_word(word):
                return value
        return None

    def parameter(self) -> Value:
        self.at += 1
        if self.used >= len(self.parameters):
            raise wrong_number()
        self.used += 1
        return self.parameters[self.used - 1]

    def collection(self) -> Value | None:
        if self.take("{"):
            return {"M": self.members()}
        if self.take("["):
            return {"L": self.elements("]")}
        if self.take("<<"):
            return _set_of(self.elements(">>"))
        return None

    def members(self) -> Item:
        members: Item = {}
        while not self.take("}"):
            if members:
                self.expect(",")
            if self.token.kind not in ("string", "quoted"):
                raise self.wrong()
            name = self.token.text
            self.at += 1
            self.expect(":")
            if name in members:
                raise invalid(f"Attribute name {name} appears more than once in a map")
            members[name] = self.within(f".{name}")
        return members

    def elements(self, closing: str) -> list[Value]:
        found: list[Value] = []
        while not self.take(closing):
            if found:
                self.expect(",")
            found.append(self.within(f"[{len(found)}]"))
        return found

    def literal(self) -> Value:
        if self.opens_call():
            where = f"{''.join(self.place) or 'root'} at {self.position(self.token)}"
            raise invalid(f"Unsupported data type: {self.token.text.lower()} under key {where}")
        value = self.value()
        if value is None:
            raise self.wrong()
        return value


def _set_of(elements: list[Value]) -> Value:
    if not elements:
        raise invalid("Empty bags are not supported")
    kinds = {next(iter(element)) for element in elements}
    if len(kinds) != 1 or not kinds <= {"S", "N", "B"}:
        raise invalid("A set must hold one or more values, all strings, all numbers or all binaries")
    kind = kinds.pop()
    try:
        return normalise_value({kind + "S": [element[kind] for element in elements]})
    except ApiError as error:
        raise in_older_words(error) from None


def wrong_number() -> Exception:
    return invalid("Number of parameters in request and statement don't match.")
