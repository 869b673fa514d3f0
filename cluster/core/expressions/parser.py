"""Recursive descent over DynamoDB's expression grammars; a tree is cached by text.

Precedence, loosest first: OR, AND, NOT, comparison. A parenthesis may open a condition or an operand; which of the
two is known only at its end, so both are parsed by one rule and what came out is checked where it is used. Parentheses
of conditions are kept on a list, not on Python's stack: there may be as many as the text has room for. AND and OR
chains are flat and NOT chains fold, so that a tree is no deeper than it has operators. Only function arguments are
parsed by recursion, and that is bounded.
"""

from __future__ import annotations

from functools import lru_cache

from cluster.core.expressions.nodes import (
    Action,
    All,
    Any,
    Arithmetic,
    Between,
    Call,
    Compare,
    Condition,
    In,
    Not,
    Operand,
    Parsed,
    Path,
    Value,
)
from cluster.core.expressions.reserved import RESERVED
from cluster.core.expressions.tokens import EOF, ExpressionError, syntax_error, tokenize

OPERATORS_MAX = 300
IN_OPTIONS_MAX = 100
CALLS_DEEP_MAX = 48
"""Function calls inside of each other, far more than can mean anything; in updates, parentheses too."""
INDEX_DIGITS_MAX = 9
PATH_LEVELS_MAX = 32
"""Parts of a document path, its attribute's name included [DG]."""
CACHED_TEXTS = 4096

COMPARATORS = frozenset(("=", "<>", "<", "<=", ">", ">="))
CONDITION_FUNCTIONS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}
"""Functions of conditions and how many operands each takes."""
UPDATE_FUNCTIONS = {"if_not_exists": 2, "list_append": 2}
_CONDITION_WORDS = frozenset(("AND", "OR", "NOT", "IN", "BETWEEN"))
_SECTIONS = frozenset(("SET", "REMOVE", "ADD", "DELETE"))


@lru_cache(maxsize=CACHED_TEXTS)
def parse_condition(text: str) -> Parsed:
    """A condition, filter or key condition. Raises :class:`ExpressionError`."""
    parser = _ConditionParser(text)
    root = parser.condition_at_root()
    parser.refuse_bad_names()
    return Parsed(text, root, (), (), tuple(parser.names), tuple(parser.values))


@lru_cache(maxsize=CACHED_TEXTS)
def parse_update(text: str) -> Parsed:
    """An update. Raises :class:`ExpressionError`."""
    parser = _UpdateParser(text)
    actions = parser.sections()
    parser.refuse_bad_names()
    return Parsed(text, None, tuple(actions), (), tuple(parser.names), tuple(parser.values))


@lru_cache(maxsize=CACHED_TEXTS)
def parse_projection(text: str) -> Parsed:
    """A projection. Raises :class:`ExpressionError`."""
    parser = _Parser(text)
    paths = [parser.path()]
    while parser.take(","):
        paths.append(parser.path())
    parser.expect(EOF)
    parser.refuse_bad_names()
    return Parsed(text, None, (), tuple(paths), tuple(parser.names), ())


class _Parser:
    """Tokens, paths and what all grammars share."""

    words: frozenset[str] = frozenset()
    """Keywords of the grammar, which are no attribute names in it."""
    kind = ""
    """What the service calls an expression of this grammar."""
    counted = True
    """Whether the refusal of a text that is too long says how long it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens, self.starts = tokenize(text, counted=self.counted)
        self.at = 0
        self.names: dict[str, None] = {}
        self.values: dict[str, None] = {}
        self.operators = 0
        self.depth = 0
        self.reserved_word: str | None = None
        self.levels = 0
        """Of the first path that has too many."""
        self.unknown: str | None = None
        """The first function that this grammar does not have."""

    @property
    def token(self) -> str:
        return self.tokens[self.at]

    def wrong(self) -> ExpressionError:
        """The token here cannot stand here."""
        return syntax_error(self.text, self.tokens, self.starts, self.at)

    def take(self, token: str) -> bool:
        if self.tokens[self.at] == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if self.tokens[self.at] != token:
            raise self.wrong()
        self.at += 1

    def take_word(self, word: str) -> bool:
        if self.tokens[self.at].upper() == word:
            self.at += 1
            return True
        return False

    def count_operator(self) -> None:
        self.operators += 1
        if self.operators > OPERATORS_MAX:
            raise ExpressionError(f"The expression contains too many operators; operator count: {self.operators}")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > CALLS_DEEP_MAX:
            raise self.unknown_function() or ExpressionError(
                f"The expression is nested too deeply; the maximum nesting is {CALLS_DEEP_MAX} levels"
            )

    def leave(self) -> None:
        self.depth -= 1

    def unknown_function(self) -> ExpressionError | None:
        """The complaint about the first function that this grammar does not have."""
        if self.unknown is None:
            return None
        if self.unknown in CONDITION_FUNCTIONS or self.unknown in UPDATE_FUNCTIONS:
            return ExpressionError(f"The function is not allowed in {self.kind} expression; function: {self.unknown}")
        return ExpressionError(f"Invalid function name; function: {self.unknown}")

    def refuse_bad_names(self) -> None:
        if self.reserved_word is not None:
            raise ExpressionError(f"Attribute name is a reserved keyword; reserved keyword: {self.reserved_word}")
        if self.levels:
            raise ExpressionError(f"The document path has too many nesting levels; nesting levels: {self.levels}")

    def name_part(self) -> str:
        token = self.tokens[self.at]
        first = token[0]
        if first == "#" and len(token) > 1:
            self.names[token] = None
        elif first.isalpha() and first.isascii() and token.upper() not in self.words:
            if self.reserved_word is None and token.upper() in RESERVED:
                self.reserved_word = token
        else:
            raise self.wrong()
        self.at += 1
        return token

    def path(self) -> Path:
        return self.path_after([self.name_part()])

    def path_after(self, parts: list[str | int]) -> Path:
        while True:
            if self.take("."):
                parts.append(self.name_part())
            elif self.take("["):
                token = self.token
                if not token.isascii() or not token.isdigit() or len(token) > INDEX_DIGITS_MAX:
                    raise self.wrong()
                parts.append(int(token))
                self.at += 1
                self.expect("]")
            else:
                break
        if len(parts) > PATH_LEVELS_MAX and not self.levels:
            self.levels = len(parts)
        return Path(tuple(parts))

    def value(self) -> Value:
        token = self.token
        if token[0] != ":" or len(token) == 1:
            raise self.wrong()
        self.values[token] = None
        self.at += 1
        return Value(token)

    def is_call(self) -> bool:
        token = self.token
        starts_name = token[0].isalpha() and token[0].isascii()
        return starts_name and self.tokens[self.at + 1] == "(" and token.upper() not in self.words


class _Level:
    """What is known of the condition inside of one open parenthesis, or of the whole."""

    __slots__ = ("ands", "left", "low", "nots", "opened", "operator", "ors")

    def __init__(self, opened: int) -> None:
        self.opened = opened
        """The index of its parenthesis; -1: there is none."""
        self.ors: list[Condition] = []
        self.ands: list[Condition] = []
        self.nots = 0
        self.operator = ""
        """Of the comparison that is under way; ``AND`` where it is the second half of a BETWEEN."""
        self.left: Operand | Condition | None = None
        self.low: Operand | None = None


class _ConditionParser(_Parser):
    words = _CONDITION_WORDS
    kind = "a condition"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.redundant = False
        self.misused: str | None = None
        self.closed = (-1, -1)

    def condition_at_root(self) -> Condition:
        root = self.condition(self.levels_from(_Level(-1)))
        self.expect(EOF)
        if self.redundant:
            raise ExpressionError("The expression has redundant parentheses;")
        unknown = self.unknown_function()
        if unknown is not None:
            raise unknown
        if self.misused is not None:
            raise ExpressionError(
                f"The function is not allowed to be used this way in an expression; function: {self.misused}"
            )
        return root

    def condition(self, node: Operand | Condition) -> Condition:
        """``node`` where only a condition may stand."""
        if isinstance(node, Call):
            if node.name == "size" and self.misused is None:
                self.misused = node.name
            return node
        if isinstance(node, (Path, Value, Arithmetic)):
            raise self.wrong()
        return node

    def operand(self, node: Operand | Condition) -> Operand:
        """``node`` where only an operand may stand."""
        if isinstance(node, Call):
            if node.name != "size" and self.misused is None:
                self.misused = node.name
            return node
        if not isinstance(node, (Path, Value)):
            raise self.wrong()
        return node

    def levels_from(self, first: _Level) -> Operand | Condition:
        """Parse from here to the end of ``first``, with whatever parentheses open and close on the way."""
        levels = [first]
        while True:
            level = levels[-1]
            if not level.operator:
                while self.take_word("NOT"):
                    self.count_operator()
                    level.nots += 1
            if self.token == "(":
                levels.append(_Level(self.at))
                self.at += 1
                continue
            node = self.joined(level, self.simple())
            while node is not None:
                levels.pop()
                if level.opened >= 0:
                    node = self.close(level.opened, node)
                if not levels:
                    return node
                level = levels[-1]
                node = self.joined(level, node)

    def joined(self, level: _Level, primary: Operand | Condition) -> Operand | Condition | None:
        """The level with one more primary: what it has come to at its end, None where it goes on."""
        node = self.compared(level, primary)
        if node is None:
            return None
        if level.nots:
            condition = self.condition(node)
            node = Not(condition) if level.nots % 2 else condition
            level.nots = 0
        if level.ands or self.token.upper() == "AND":
            level.ands.append(self.condition(node))
            if self.take_word("AND"):
                self.count_operator()
                return None
            node, level.ands = All(tuple(level.ands)), []
        if level.ors or self.token.upper() == "OR":
            level.ors.append(self.condition(node))
            if self.take_word("OR"):
                self.count_operator()
                return None
            node = Any(tuple(level.ors))
        return node

    def compared(self, level: _Level, primary: Operand | Condition) -> Operand | Condition | None:
        """The comparison that a primary completes, or the primary alone; None where it needs another one."""
        operator, left = level.operator, level.left
        if not operator:
            return self.comparison_begun(level, primary)
        assert left is not None
        if operator == "BETWEEN":
            level.low = self.operand(primary)
            if not self.take_word("AND"):
                raise self.wrong()
            level.operator, level.left = "AND", self.operand(left)
            return None
        level.operator = ""
        if operator == "AND":
            assert level.low is not None
            return Between(self.operand(left), level.low, self.operand(primary))
        return Compare(operator, self.operand(left), self.operand(primary))

    def comparison_begun(self, level: _Level, left: Operand | Condition) -> Operand | Condition | None:
        token = self.token
        word = token.upper()
        if token in COMPARATORS or word == "BETWEEN":
            self.at += 1
            self.count_operator()
            level.operator, level.left = word, left if word == "BETWEEN" else self.operand(left)
            return None
        if word != "IN":
            return left
        self.at += 1
        self.count_operator()
        self.expect("(")
        options = self.arguments()
        if len(options) > IN_OPTIONS_MAX:
            raise ExpressionError(
                "Incorrect number of operands for operator or function; operator or function: IN, "
                f"number of operands: {len(options)}"
            )
        return In(self.operand(left), options)

    def simple(self) -> Operand:
        """A primary without parentheses around it."""
        if self.token[0] == ":":
            return self.value()
        return self.call() if self.is_call() else self.path()

    def close(self, opened: int, node: Operand | Condition) -> Operand | Condition:
        """The end of a parenthesis."""
        if self.closed == (opened + 1, self.at - 1):
            self.redundant = True
        self.closed = (opened, self.at)
        self.expect(")")
        if isinstance(node, Path) and self.token in (".", "["):
            return self.path_after(list(node.parts))
        return node

    def call(self) -> Call:
        name = self.token
        self.at += 2
        self.count_operator()
        if name not in CONDITION_FUNCTIONS and self.unknown is None:
            self.unknown = name
        return Call(name, self.arguments())

    def arguments(self) -> tuple[Operand, ...]:
        self.enter()
        found = [self.argument()]
        while self.take(","):
            found.append(self.argument())
        self.expect(")")
        self.leave()
        return tuple(found)

    def argument(self) -> Operand:
        if self.token != "(":
            return self.operand(self.simple())
        self.at += 1
        return self.operand(self.levels_from(_Level(self.at - 1)))


class _UpdateParser(_Parser):
    words = _SECTIONS
    kind = "an update"
    counted = False

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: str | None = None
        self.misused: str | None = None

    def refuse_bad_names(self) -> None:
        super().refuse_bad_names()
        unknown = self.unknown_function()
        if unknown is not None:
            raise unknown
        if self.repeated is not None:
            raise ExpressionError(f'The "{self.repeated}" section can only be used once in an update expression;')
        if self.misused is not None:
            raise ExpressionError(
                f"The function is not allowed to be used this way in an expression; function: {self.misused}"
            )

    def sections(self) -> list[Action]:
        actions: list[Action] = []
        seen: list[str] = []
        while True:
            section = self.token.upper()
            if section not in _SECTIONS:
                raise self.wrong()
            self.at += 1
            if section in seen and self.repeated is None:
                self.repeated = section
            seen.append(section)
            actions.append(self.action(section))
            while self.take(","):
                actions.append(self.action(section))
            if self.take(EOF):
                return actions

    def action(self, section: str) -> Action:
        self.count_operator()
        path = self.path()
        if section == "REMOVE":
            return Action(section, path, None)
        if section != "SET":
            return Action(section, path, self.value())
        self.expect("=")
        return Action(section, path, self.sum())

    def sum(self) -> Operand:
        left = self.operand()
        if self.token not in ("+", "-") or isinstance(left, Arithmetic):
            return left
        operator = self.token
        self.at += 1
        self.count_operator()
        return Arithmetic(operator, left, self.operand())

    def operand(self) -> Operand:
        if self.take("("):
            self.enter()
            inner = self.sum()
            self.expect(")")
            self.leave()
            return inner
        if self.token[0] == ":":
            return self.value()
        if self.is_call():
            return self.call()
        return self.path()

    def call(self) -> Call:
        name = self.token
        self.at += 2
        self.count_operator()
        if name not in UPDATE_FUNCTIONS and self.unknown is None:
            self.unknown = name
        self.enter()
        arguments = [self.operand()]
        while self.take(","):
            arguments.append(self.operand())
        self.expect(")")
        self.leave()
        for argument in arguments:
            # A function's value may be another's argument only where it stands for what may be missing.
            if isinstance(argument, Call) and argument.name != "if_not_exists" and self.misused is None:
                self.misused = argument.name
        return Call(name, tuple(arguments))
