"""Mutants of a Python file: the same program with one small mistake in it, as people make them.

What no test could tell apart is left as it is: texts, annotations, decorators, logging, `raise`, `__all__`, how far
ahead batches are made or beside what else they are copied (`PACE`), and `zip(strict=...)`, which only says what holds
anyway.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

Replacement = Callable[[ast.AST], ast.AST]  # gets a copy of the node, which it may change
LOGGERS = ("_log", "logging", "warnings")
TEXTS = ("description", "help")  # keywords that hold a text for people
PACE = ("non_blocking", "prefetch_factor")  # keywords that say how far ahead or beside what a program does, not what
MINIMUM_MAXIMUM = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


class Mutant(NamedTuple):
    """change: what was put for what, one line."""

    line: int
    change: str


class _Change(NamedTuple):
    """A mutation of one node: node -> `replacement` of it."""

    node: ast.AST
    replacement: Replacement
    name: str


class _Put(ast.NodeTransformer):
    def __init__(self, node: ast.AST, new: ast.AST) -> None:
        self._node, self._new = node, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._node else self.generic_visit(node)


def mutants(source: str) -> list[Mutant]:
    """All mutants of a file, in the order of its lines."""
    found = []
    for change in _changes(ast.parse(source)):
        new = change.replacement(copy.deepcopy(change.node))
        text = f"{change.name}: `{_short(ast.unparse(change.node))}` -> `{_short(ast.unparse(new))}`"
        found.append(Mutant(getattr(change.node, "lineno", 0), text))
    return found


def mutated(source: str, number: int) -> str:
    """The whole source of a file with its mutant `number`, as `mutants` counts them from 0."""
    tree = ast.parse(source)
    change = next(islice(_changes(tree), number, None))
    new = ast.copy_location(change.replacement(copy.deepcopy(change.node)), change.node)
    return ast.unparse(ast.fix_missing_locations(_Put(change.node, new).visit(tree))) + "\n"


def _short(text: str, *, limit: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _changes(tree: ast.AST) -> Iterator[_Change]:
    for node in _mutable(tree):
        for name, replacement in _of(node):
            yield _Change(node, replacement, name)


def _mutable(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of which a test can tell whether they are changed, in the order of the source."""
    if _is_text(node):
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        if field == "keywords" and _is_zip(node):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _mutable(child)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in (*TEXTS, *PACE)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return isinstance(node.func.value, ast.Name) and node.func.value.id in LOGGERS
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__" or _is_type_alias(node)
    return False


def _is_zip(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip"


def _is_type_alias(node: ast.Assign) -> bool:
    return ast.unparse(node.targets[0])[:1].isupper() and isinstance(node.value, ast.BinOp | ast.Subscript)


def _of(node: ast.AST) -> Iterator[tuple[str, Replacement]]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in ARITHMETIC and not _is_path(node):
            yield "arithmetic", _with("op", ARITHMETIC[type(node.op)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not", lambda _: copy.deepcopy(operand)
        case ast.BoolOp(op=op):
            yield "and/or", _with("op", ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield "condition", lambda one: _with("test", ast.UnaryOp(ast.Not(), one.test))(one)  # type: ignore[attr-defined]
        case ast.Constant():
            yield from _constants(node)
        # None for False is the same to all who ask `if`, and the types forbid it; True is put for it below.
        case ast.Return(value=value) if value is not None and ast.unparse(value) not in ("None", "False"):
            yield "return", _with("value", ast.Constant(None))
        case ast.Expr(value=ast.Call() as call) if not _is_text(call):
            yield "statement", lambda _: ast.Pass()
        case ast.Call():
            yield from _calls(node)


def _with(field: str, value: object) -> Replacement:
    def replaced(node: ast.AST) -> ast.AST:
        setattr(node, field, value)
        return node

    return replaced


def _comparisons(node: ast.Compare) -> Iterator[tuple[str, Replacement]]:
    for place, op in enumerate(node.ops):
        ops = [COMPARISONS[type(op)]() if at == place else other for at, other in enumerate(node.ops)]
        yield "comparison", _with("ops", ops)


def _is_path(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether it is surely no arithmetic but a path or a text: any mutant of it falls at once."""
    sides = [node.right, node.left] if isinstance(node, ast.BinOp) else [node.value]
    return any(isinstance(side, ast.JoinedStr) or _is_string(side) for side in sides)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _constants(node: ast.Constant) -> Iterator[tuple[str, Replacement]]:
    if isinstance(node.value, bool):
        yield "constant", _with("value", not node.value)
    elif isinstance(node.value, int | float):
        for step in (1, -1):
            yield "constant", _with("value", node.value + step)


def _calls(node: ast.Call) -> Iterator[tuple[str, Replacement]]:
    for place, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, *TEXTS, *PACE) and not _is_zip(node):
            left = [other for at, other in enumerate(node.keywords) if at != place]
            yield f"without {keyword.arg}", _with("keywords", left)
    func = node.func
    if isinstance(func, ast.Name) and func.id in MINIMUM_MAXIMUM:
        yield "min/max", _with("func", ast.Name(MINIMUM_MAXIMUM[func.id], ast.Load()))
    if isinstance(func, ast.Attribute) and func.attr in MINIMUM_MAXIMUM:
        yield "min/max", _with("func", ast.Attribute(func.value, MINIMUM_MAXIMUM[func.attr], ast.Load()))
