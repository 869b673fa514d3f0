"""Recursive descent over PartiQL's statements, as far as DynamoDB has them; no input recurses without bound.

Parameters (``?``) are put in their places while parsing, so that a tree is of one request.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.core import numbers
from cluster.core.errors import invalid
from cluster.core.items import Item, Value
from cluster.core.partiql.nodes import (
    And,
    Arithmetic,
    Between,
    Compare,
    Condition,
    Delete,
    Exists,
    Function,
    In,
    Insert,
    Is,
    Literal,
    Not,
    Operand,
    Or,
    Path,
    Select,
    Set,
    Statement,
    Update,
)
from cluster.core.partiql.tokens import StatementError, Token, tokenize

NESTING_MAX = 48
COMPARATORS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
CONDITION_FUNCTIONS = {"begins_with": 2, "contains": 2, "attribute_type": 2, "size": 1}
UPDATE_FUNCTIONS = {"list_append": 2, "set_add": 2, "set_delete": 2, "if_not_exists": 2}
_RESERVED = frozenset(
    ("SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "BETWEEN", "IS", "MISSING", "NULL", "TRUE", "FALSE")
)
"""Words that are no names unless quoted: those that could follow, or stand in, the place of one."""


def parse(text: str, parameters: Sequence[Value]) -> Statement:
    """The statement, its parameters in their places. Raises ``ValidationException``."""
    parser = _Parser(text, parameters)
    statement = parser.statement()
    parser.take(";")
    if parser.token.kind != "end":
        raise StatementError(f"Unexpected term after expression: {parser.token.text}")
    if parser.used != len(parameters):
        raise _wrong_number()
    return statement


def _wrong_number() -> Exception:
    return invalid("Number of parameters in request and statement don't match.")


class _Parser:
    def __init__(self, text: str, parameters: Sequence[Value]) -> None:
        self.tokens = tokenize(text)
        self.at = 0
        self.parameters = parameters
        self.used = 0
        self.depth = 0

    # --- tokens ---

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def wrong(self) -> StatementError:
        token = self.token
        return StatementError(
            "Unexpected end of statement" if token.kind == "end" else f"Unexpected term: {token.text}"
        )

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

    # --- statements ---

    def statement(self) -> Statement:
        if self.take_word("SELECT"):
            return self.select()
        if self.take_word("INSERT", "INTO"):
            return self.insert()
        if self.take_word("UPDATE"):
            return self.update()
        if self.take_word("DELETE", "FROM"):
            table = self.table()
            where = self.where()
            return Delete(table, where, self.returning())
        if self.take_word("EXISTS"):
            self.expect("(")
            self.expect_word("SELECT")
            found = Exists(self.select())
            self.expect(")")
            return found
        raise StatementError("Expected data manipulation")

    def select(self) -> Select:
        columns: list[Path] | None = None
        if not self.take("*"):
            columns = [self.path()]
            while self.take(","):
                columns.append(self.path())
        self.expect_word("FROM")
        names = self.source()
        where = self.where()
        order: list[tuple[Path, bool]] = []
        if self.take_word("ORDER", "BY"):
            order.append(self.ordering())
            while self.take(","):
                order.append(self.ordering())
        index = names[1] if len(names) == 2 else None
        return Select(names[0], index, tuple(columns) if columns is not None else None, where, tuple(order))

    def ordering(self) -> tuple[Path, bool]:
        path = self.path()
        falls = self.take_word("DESC")
        if not falls:
            self.take_word("ASC")
        return path, falls

    def source(self) -> list[str]:
        """A table's name, and perhaps an index's."""
        names = [self.name()]
        while self.take("."):
            names.append(self.name())
        if len(names) > 2:
            raise invalid("A path may contain at most 2 components in the FROM clause")
        if not all(names):
            raise invalid("Path component cannot be an empty string")
        return names

    def table(self) -> str:
        names = self.source()
        if len(names) > 1:
            raise invalid("Only table names are allowed in statements that write")
        return names[0]

    def where(self) -> Condition | None:
        return self.condition(self.any_of()) if self.take_word("WHERE") else None

    def returning(self) -> str:
        if not self.take_word("RETURNING"):
            return ""
        for scope in ("ALL", "MODIFIED"):
            for age in ("OLD", "NEW"):
                if self.take_word(scope, age):
                    self.expect("*")
                    return f"{scope} {age}"
        raise self.wrong()

    def insert(self) -> Insert:
        table = self.table()
        self.expect_word("VALUE")
        value = self.operand(self.primary())
        if not isinstance(value, Literal) or "M" not in value.value:
            raise invalid(
                "Unsupported operation: Inserting multiple items in a single statement or a value that is no map"
            )
        item: Item = value.value["M"]
        return Insert(table, item)

    def update(self) -> Update:
        table = self.table()
        sets: list[Set] = []
        while True:
            if self.take_word("SET"):
                sets.append(self.assignment())
                while self.take(","):
                    sets.append(self.assignment())
            elif self.take_word("REMOVE"):
                sets.append(Set(self.path(), None))
                while self.take(","):
                    sets.append(Set(self.path(), None))
            else:
                break
        if not sets:
            raise self.wrong()
        where = self.where()
        return Update(table, tuple(sets), where, self.returning())

    def assignment(self) -> Set:
        path = self.path()
        self.expect("=")
        left = self.operand(self.primary())
        if self.token.kind == "mark" and self.token.text in "+-":
            operator = self.token.text
            self.at += 1
            return Set(path, Arithmetic(operator, left, self.operand(self.primary())))
        return Set(path, left)

    # --- names and paths ---

    def name(self) -> str:
        token = self.token
        if token.kind == "quoted" or (token.kind == "word" and token.keyword not in _RESERVED):
            self.at += 1
            return token.text
        raise self.wrong()

    def path(self) -> Path:
        parts: list[str | int] = [self.name()]
        while True:
            if self.take("."):
                parts.append(self.name())
            elif self.take("["):
                token = self.token
                if token.kind == "number" and token.text.isdigit() and len(token.text) < 10:
                    parts.append(int(token.text))
                elif token.kind == "string":
                    parts.append(token.text)
                else:
                    raise self.wrong()
                self.at += 1
                self.expect("]")
            else:
                if not parts[0]:
                    raise invalid("Path component cannot be an empty string")
                return Path(tuple(parts))

    # --- conditions ---

    def condition(self, node: Operand | Condition) -> Condition:
        """``node`` where only a condition may stand."""
        if isinstance(node, (Path, Literal, Arithmetic)) or (isinstance(node, Function) and node.name == "size"):
            raise StatementError("Expected a condition")
        return node

    def operand(self, node: Operand | Condition) -> Operand:
        """``node`` where only an operand may stand."""
        if isinstance(node, (Path, Literal, Arithmetic, Function)):
            return node
        raise StatementError("Unexpected condition in place of a value")

    def any_of(self) -> Operand | Condition:
        first = self.all_of()
        if self.token.keyword != "OR":
            return first
        parts = [self.condition(first)]
        while self.take_word("OR"):
            parts.append(self.condition(self.all_of()))
        return Or(tuple(parts))

    def all_of(self) -> Operand | Condition:
        first = self.negation()
        if self.token.keyword != "AND":
            return first
        parts = [self.condition(first)]
        while self.take_word("AND"):
            parts.append(self.condition(self.negation()))
        return And(tuple(parts))

    def negation(self) -> Operand | Condition:
        inverted = found = False
        while self.take_word("NOT"):
            found, inverted = True, not inverted
        node = self.comparison()
        if not found:
            return node
        return Not(self.condition(node)) if inverted else self.condition(node)

    def comparison(self) -> Operand | Condition:
        left = self.primary()
        token = self.token
        if token.kind == "mark" and token.text in COMPARATORS:
            self.at += 1
            return Compare(COMPARATORS[token.text], self.operand(left), self.operand(self.primary()))
        if self.take_word("IS"):
            return self.being(left)
        negated = self.take_word("NOT")
        if self.take_word("BETWEEN"):
            low = self.operand(self.primary())
            self.expect_word("AND")
            found: Condition = Between(self.operand(left), low, self.operand(self.primary()))
        elif self.take_word("IN"):
            found = In(self.operand(left), self.options())
        elif negated:
            raise self.wrong()
        else:
            return left
        return Not(found) if negated else found

    def being(self, left: Operand | Condition) -> Is:
        if not isinstance(left, Path):
            raise StatementError("Expected a path before IS")
        negated = self.take_word("NOT")
        for what in ("MISSING", "NULL"):
            if self.take_word(what):
                return Is(left, what, negated)
        raise self.wrong()

    def options(self) -> tuple[Operand, ...]:
        """What IN chooses from: in brackets, in parentheses, or one list that is a parameter."""
        for opening, closing in (("[", "]"), ("(", ")")):
            if self.take(opening):
                found = [self.operand(self.primary())]
                while self.take(","):
                    found.append(self.operand(self.primary()))
                self.expect(closing)
                return tuple(found)
        listed = self.primary()
        if isinstance(listed, Literal) and "L" in listed.value:
            return tuple(Literal(element) for element in listed.value["L"])
        raise self.wrong()

    def primary(self) -> Operand | Condition:
        token = self.token
        if token.kind == "mark" and token.text == "(":
            self.at += 1
            self.enter()
            node = self.any_of()
            self.expect(")")
            self.leave()
            return node
        if token.kind == "word" and self.tokens[self.at + 1].text == "(" and self.tokens[self.at + 1].kind == "mark":
            return self.call()
        value = self.value()
        return Literal(value) if value is not None else self.path()

    def call(self) -> Function:
        name = self.token.text.lower()
        wanted = CONDITION_FUNCTIONS.get(name) or UPDATE_FUNCTIONS.get(name)
        if wanted is None:
            raise invalid(f"Unsupported function: {self.token.text}")
        self.at += 2
        self.enter()
        arguments = [self.operand(self.primary())]
        while self.take(","):
            arguments.append(self.operand(self.primary()))
        self.expect(")")
        self.leave()
        if len(arguments) != wanted:
            raise invalid(
                "Incorrect number of operands for operator or function; operator or function: "
                f"{name}, number of operands: {len(arguments)}"
            )
        return Function(name, tuple(arguments))

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
            return {"N": numbers.normalise(token.text)}
        if kind == "word":
            return self.word()
        if kind != "mark":
            return None
        if token.text in "+-" and self.tokens[self.at + 1].kind == "number":
            self.at += 2
            return {"N": numbers.normalise(token.text + self.tokens[self.at - 1].text)}
        if token.text == "?":
            return self.parameter()
        self.enter()
        found = self.collection()
        self.leave()
        return found

    def word(self) -> Value | None:
        for word, value in (("TRUE", {"BOOL": True}), ("FALSE", {"BOOL": False}), ("NULL", {"NULL": True})):
            if self.take_word(word):
                return value
        return None

    def parameter(self) -> Value:
        self.at += 1
        if self.used >= len(self.parameters):
            raise _wrong_number()
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
            members[name] = self.literal()
        return members

    def elements(self, closing: str) -> list[Value]:
        found: list[Value] = []
        while not self.take(closing):
            if found:
                self.expect(",")
            found.append(self.literal())
        return found

    def literal(self) -> Value:
        value = self.value()
        if value is None:
            raise self.wrong()
        return value


def _set_of(elements: list[Value]) -> Value:
    kinds = {next(iter(element)) for element in elements}
    if len(kinds) != 1 or not kinds <= {"S", "N", "B"}:
        raise invalid("A set must hold one or more values, all strings, all numbers or all binaries")
    kind = kinds.pop()
    found = [element[kind] for element in elements]
    if len(dict.fromkeys(found)) != len(found):
        raise invalid("Input collection contains duplicates")
    return {kind + "S": found}
