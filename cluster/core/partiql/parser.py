"""Recursive descent over PartiQL's statements, as far as DynamoDB has them; no input recurses without bound.

Parameters (``?``) are put in their places while parsing, so that a tree is of one request.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from cluster.core.partiql.reader import Reader, wrong_number
from cluster.core.partiql.tokens import StatementError

COMPARATORS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
CONDITION_FUNCTIONS = {
    "begins_with": 2,
    "contains": 2,
    "attribute_type": 2,
    "size": 1,
    "attribute_exists": 1,
    "attribute_not_exists": 1,
}
_PREDICATES = frozenset(CONDITION_FUNCTIONS) - {"size"}
UPDATE_FUNCTIONS = {"list_append": 2, "set_add": 2, "set_delete": 2, "if_not_exists": 2}
SET_FUNCTIONS = ("set_add", "set_delete")
TYPES = {
    "MISSING": "MISSING",
    "NULL": "NULL",
    **dict.fromkeys(("BOOL", "BOOLEAN"), "BOOL"),
    **dict.fromkeys(("STRING", "CHAR", "CHARACTER", "VARCHAR"), "S"),
    **dict.fromkeys(("INT", "INT2", "INT4", "INT8", "INTEGER", "SMALLINT", "BIGINT"), "N"),
    **dict.fromkeys(("DECIMAL", "NUMERIC", "FLOAT", "REAL", "DOUBLE"), "N"),
    "BLOB": "B",
    "LIST": "L",
    **dict.fromkeys(("STRUCT", "TUPLE"), "M"),
}
"""What IS asks for: PartiQL's names of types, and the letters that DynamoDB has for them."""
_RESERVED = frozenset(
    ("SELECT", "FROM", "WHERE", "ORDER", "AND", "OR", "NOT", "IN", "BETWEEN", "IS", "LIKE", "MISSING", "NULL")
).union(("TRUE", "FALSE"))
"""Words that are no names unless quoted: those that could follow, or stand in, the place of one."""
_LEFTOVER = "Unexpected token after expression"
_JOINS = frozenset(("INNER", "OUTER", "LEFT", "RIGHT", "FULL", "CROSS", "JOIN"))
"""Words that are no names within a path, either."""
_AFTER_TABLE = frozenset(("WHERE", "ORDER", "SET", "REMOVE", "RETURNING", "VALUE"))


def parse(text: str, parameters: Sequence[Value]) -> Statement:
    """The statement, its parameters in their places. Raises ``ValidationException``."""
    parser = _Parser(text, parameters)
    statement = parser.statement()
    parser.take(";")
    if parser.token.kind != "end":
        raise StatementError(_LEFTOVER)
    if parser.used != len(parameters):
        raise wrong_number()
    return statement


class _Parser(Reader):
    def __init__(self, text: str, parameters: Sequence[Value]) -> None:
        super().__init__(text, parameters)
        self.functions = CONDITION_FUNCTIONS
        """Those that may be called where the parser is."""

    # --- statements ---

    def statement(self) -> Statement:
        if self.take_word("SELECT"):
            return self.select()
        if self.take_word("INSERT", "INTO"):
            return self.insert()
        if self.take_word("UPDATE"):
            return self.update()
        if self.take_word("FROM"):
            return self.update_from_first()
        if self.take_word("DELETE", "FROM"):
            if self.token.kind not in ("word", "quoted") or self.token.keyword in _RESERVED:
                raise StatementError("Expected identifier for simple path")
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
            columns = [self.column()]
            while self.take(","):
                columns.append(self.column())
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

    def column(self) -> Path:
        if self.opens_call():
            raise invalid(f"Unexpected path component at {self.position(self.token)}")
        return self.path()

    def ordering(self) -> tuple[Path, bool]:
        path = self.path()
        falls = self.take_word("DESC")
        if not falls:
            self.take_word("ASC")
        return path, falls

    def source(self, *, aliased: bool = True) -> list[str]:
        """A table's name, and perhaps an index's; ``aliased``: another name could follow, which is refused."""
        names = [self.name()]
        while self.take("."):
            names.append(self.name())
        if len(names) > 2:
            raise invalid("A path may contain at most 2 components in the FROM clause")
        if not all(names):
            raise invalid("Path component cannot be an empty string")
        if aliased and self.token.kind in ("word", "quoted") and self.token.keyword not in _AFTER_TABLE:
            raise invalid("Aliasing is not supported")
        return names

    def table(self, *, aliased: bool = True) -> str:
        names = self.source(aliased=aliased)
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
        table = self.table(aliased=False)
        if not self.take_word("VALUE"):
            raise StatementError(_LEFTOVER)
        self.place = []
        value = self.operand(self.primary())
        if not isinstance(value, Literal) or "M" not in value.value:
            raise invalid(
                "Unsupported operation: Inserting multiple items in a single statement or a value that is no map"
            )
        item: Item = value.value["M"]
        return Insert(table, item)

    def update(self) -> Update:
        table = self.table()
        sets = self.changes()
        where = self.where()
        return Update(table, sets, where, self.returning())

    def update_from_first(self) -> Update:
        """The same with its parts in another order."""
        table = self.table()
        where = self.where()
        sets = self.changes()
        return Update(table, sets, where, self.returning())

    def changes(self) -> tuple[Set, ...]:
        sets: list[Set] = []
        self.functions = UPDATE_FUNCTIONS
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
        self.functions = CONDITION_FUNCTIONS
        return tuple(sets)

    def assignment(self) -> Set:
        path = self.path()
        self.expect("=")
        call = self.at
        left = self.operand(self.primary())
        if isinstance(left, Function) and left.name in SET_FUNCTIONS:
            self.check_set_function(path, left, call)
        if self.token.kind == "mark" and self.token.text in "+-":
            operator = self.token.text
            self.at += 1
            return Set(path, Arithmetic(operator, left, self.operand(self.primary())))
        return Set(path, left)

    def check_set_function(self, path: Path, node: Function, call: int) -> None:
        """``call`` is the place of its name among the tokens."""
        name = node.name.upper()
        if node.arguments[0] != path:
            raise invalid(
                f"The first argument to {name} must equal the assignment value at {self.position(self.tokens[call])}"
            )
        elements = node.arguments[1]
        if not isinstance(elements, Literal) or next(iter(elements.value)) not in ("SS", "NS", "BS"):
            first = self.position(self.tokens[call + 2])
            raise invalid(f"The second argument to {name} must be a value with type SET at {first}")

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
                if self.token.keyword in _JOINS:
                    raise StatementError("Invalid path dot component")
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
            self.expect_operand()
            parts.append(self.condition(self.all_of()))
        return Or(tuple(parts))

    def all_of(self) -> Operand | Condition:
        first = self.negation()
        if self.token.keyword != "AND":
            return first
        parts = [self.condition(first)]
        while self.take_word("AND"):
            self.expect_operand()
            parts.append(self.condition(self.negation()))
        return And(tuple(parts))

    def expect_operand(self) -> None:
        if self.token.kind == "end":
            raise StatementError("Missing right-hand side expression of infix operator")

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
            return _compared(COMPARATORS[token.text], self.operand(left), self.operand(self.primary()))
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
        what = TYPES.get(self.token.keyword)
        if what is None:
            raise StatementError("Expected type name")
        self.at += 1
        if self.tokens[self.at - 1].keyword == "DOUBLE":
            self.expect_word("PRECISION")
        return Is(left, what, negated)

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
        if self.opens_call():
            return self.call()
        value = self.value()
        return Literal(value) if value is not None else self.path()

    def call(self) -> Function:
        token = self.token
        name = token.text.lower()
        wanted = self.functions.get(name)
        if wanted is None:
            raise invalid(f"Unrecognized function: {name} at {self.position(token)}")
        self.at += 2
        self.enter()
        arguments: list[Operand] = []
        while not self.take(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.operand(self.primary()))
        self.leave()
        if len(arguments) != wanted and name in SET_FUNCTIONS:
            raise invalid(f"{name.upper()} must have exactly two arguments at {self.position(token)}")
        if len(arguments) != wanted:
            raise invalid(
                "Incorrect number of operands for operator or function; operator or function: "
                f"{name}, number of operands: {len(arguments)}"
            )
        return Function(name, tuple(arguments))


def _compared(operator: str, left: Operand, right: Operand) -> Condition:
    """A comparison; that of a function which is a condition with a truth value is the condition, or its opposite."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Function) and one.name in _PREDICATES and isinstance(other, Literal):
            truth = other.value.get("BOOL")
            if truth is not None and operator in ("=", "<>"):
                return one if truth is (operator == "=") else Not(one)
    return Compare(operator, left, right)
