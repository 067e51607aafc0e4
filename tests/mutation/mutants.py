"""Mutants of a module: each is its tree with one small change in one function."""

import ast
import copy
from collections.abc import Iterator

import msgspec

_COMPARED: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_REVERSED: dict[type, type] = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
_COUNTED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Mutant(msgspec.Struct, frozen=True):
    """One change: the function's name as `Class.name`, the line, what was done, and the whole module with it."""

    function: str
    line: int
    change: str
    tree: ast.Module


def of(source: str) -> Iterator[Mutant]:
    """Yield every mutant of the functions of a module; texts for people (with a space) and annotations stay."""
    tree = ast.parse(source)
    for name, function in _functions(tree):
        for number, node in enumerate(ast.walk(function)):
            for change, replaced in _changes(node, function):
                yield Mutant(
                    name, getattr(node, "lineno", function.lineno), change, _with(tree, name, number, replaced)
                )


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, _FUNCTIONS):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, _FUNCTIONS))


def _with(tree: ast.Module, name: str, number: int, replaced: ast.AST) -> ast.Module:
    """Return a copy of the module in which the node of that number in the function's walk is another one."""
    other = copy.deepcopy(tree)
    function = dict(_functions(other))[name]
    node = next(one for at, one in enumerate(ast.walk(function)) if at == number)
    for parent in ast.walk(function):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, replaced)
            elif isinstance(value, list) and any(one is node for one in value):
                value[next(at for at, one in enumerate(value) if one is node)] = replaced
    return ast.fix_missing_locations(other)


def _changes(node: ast.AST, function: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if not _is_meant(node, function):
        return
    match node:
        case ast.Compare(ops=[op]):
            for table in (_COMPARED, _REVERSED):
                if type(op) in table:
                    other = table[type(op)]
                    yield f"{type(op).__name__} is {other.__name__}", _replaced(node, ops=[other()])
        case ast.BoolOp(op=op):
            yield (
                "and is or" if isinstance(op, ast.And) else "or is and",
                _replaced(node, op=ast.Or() if isinstance(op, ast.And) else ast.And()),
            )
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not is left out", copy.deepcopy(operand)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _COUNTED:
            other = _COUNTED[type(op)]
            yield f"{type(op).__name__} is {other.__name__}", _replaced(node, op=other())
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "the condition is turned", _replaced(node, test=ast.UnaryOp(ast.Not(), copy.deepcopy(test)))
        case ast.Constant(value=bool(value)):
            yield f"{value} is {not value}", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield f"{value} is {value + 1}", ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if " " not in value:
            yield f"{value!r} is another word", ast.Constant(f"{value}x")
        case ast.Return(value=value) if value is not None and not _is_nothing(value):
            yield "nothing is returned", ast.Return(None)
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "a call is left out", ast.Pass()
        case ast.Continue() | ast.Break() | ast.Raise():
            yield f"{type(node).__name__.lower()} is left out", ast.Pass()


def _replaced(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _is_nothing(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_meant(node: ast.AST, function: ast.AST) -> bool:
    """Leave out docstrings, annotations, decorators, defaults and the pieces of texts that are put together."""
    for parent in ast.walk(function):
        if isinstance(parent, ast.JoinedStr) and node in parent.values and isinstance(node, ast.Constant):
            return False
        if isinstance(parent, ast.arg | ast.AnnAssign) and _holds(parent.annotation, node):
            return False
        if isinstance(parent, _FUNCTIONS) and any(
            _holds(one, node) for one in (parent.args, parent.returns, *parent.decorator_list)
        ):
            return False
        is_never = isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "assert_never"
        if is_never and _holds(parent, node):
            return False
    return True


def _holds(parent: ast.AST | None, node: ast.AST) -> bool:
    return parent is not None and any(one is node for one in ast.walk(parent))
