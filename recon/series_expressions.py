"""Expressions that a user writes for a series, such as `A * exp(-b * ADC)`: parsed safely, with derivatives.

The text is read by Python's own grammar and turned into sympy node by node; only numbers, named symbols, arithmetic
and a short list of functions pass. Nothing of it is ever evaluated as code (sympy's own parser would).
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy import special

from pulsespec.errors import InputError

Real = NDArray[np.float64]

_LONGEST = 300
_MOST_PARAMETERS = 8
_LARGEST_POWER = 16.0
_FUNCTIONS: Mapping[str, tuple[Any, Callable[..., Any]]] = {
    "exp": (sympy.exp, np.exp),
    "log": (sympy.log, np.log),
    "sqrt": (sympy.sqrt, np.sqrt),
    "sin": (sympy.sin, np.sin),
    "cos": (sympy.cos, np.cos),
    "tanh": (sympy.tanh, np.tanh),
    "erf": (sympy.erf, special.erf),
    "abs": (sympy.Abs, np.abs),
}
_NUMERIC: Mapping[Any, Callable[..., Any]] = dict(_FUNCTIONS.values()) | {sympy.sign: np.sign}
_CONSTANTS = {"pi": math.pi}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


@dataclass(frozen=True)
class Expression:
    """A function of one variable and some parameters."""

    text: str
    variable: str
    parameters: tuple[str, ...]
    """Names in the order in which they first appear."""
    tree: Any
    """The same as a sympy expression of real symbols."""
    known: Mapping[str, Real] = field(default_factory=dict)
    """What else differs from spectrum to spectrum, by name; shape (n_x,) each."""

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """The largest set of parameters that the expression is linear in, without a rest: solved inside the search."""
        symbols = {name: sympy.Symbol(name, real=True) for name in self.parameters}
        for size in range(len(self.parameters), 0, -1):
            for names in combinations(self.parameters, size):
                chosen = [symbols[name] for name in names]
                slopes = [sympy.diff(self.tree, symbol) for symbol in chosen]
                rest = self.tree - sum(s * p for s, p in zip(slopes, chosen, strict=True))
                alone = all(not slope.has(*chosen) for slope in slopes)
                if alone and sympy.expand(rest) == 0:
                    return names
        return ()

    @cached_property
    def nonlinear(self) -> tuple[str, ...]:
        """All other parameters."""
        return tuple(name for name in self.parameters if name not in self.linear)

    @cached_property
    def _columns(self) -> list[Any]:
        return [self.derivative(name) for name in self.linear]

    def _at(self, nonlinear: Sequence[float]) -> dict[str, float | Real]:
        return {**self.known, **dict(zip(self.nonlinear, map(float, nonlinear), strict=True))}

    def derivative(self, name: str) -> Any:
        """Return the derivative by a parameter as a sympy expression."""
        return sympy.diff(self.tree, sympy.Symbol(name, real=True))

    def columns(self, x: Real, nonlinear: Sequence[float]) -> Real:
        """Return what the linear parameters are multiplied by; shape (n_x, n_linear)."""
        at = self._at(nonlinear)
        return np.stack([evaluate(tree, self.variable, x, at) for tree in self._columns], axis=1)

    def slopes(self, x: Real, nonlinear: Sequence[float]) -> Real:
        """Return the derivatives of `columns` by each nonlinear parameter; shape (n_nonlinear, n_x, n_linear)."""
        at = self._at(nonlinear)
        found = np.zeros((len(self.nonlinear), x.size, len(self.linear)))
        for row, name in enumerate(self.nonlinear):
            for column, tree in enumerate(self._slopes[name]):
                found[row, :, column] = evaluate(tree, self.variable, x, at)
            missing = ~np.isfinite(found[row])  # as of (b D)^a by a at b = 0, which has a limit
            if missing.any():
                found[row][missing] = self._difference(x, nonlinear, row)[missing]
        return found

    def _difference(self, x: Real, nonlinear: Sequence[float], row: int) -> Real:
        step = np.zeros(len(self.nonlinear))
        step[row] = 1e-6 * max(abs(nonlinear[row]), 1e-6)
        above, below = (self.columns(x, list(np.add(nonlinear, sign * step))) for sign in (1, -1))
        return np.asarray((above - below) / (2 * step[row]))

    @cached_property
    def _slopes(self) -> dict[str, list[Any]]:
        symbols = {name: sympy.Symbol(name, real=True) for name in self.nonlinear}
        return {
            name: [sympy.diff(tree, symbol) for tree in self._columns] for name, symbol in symbols.items()
        }


def parse(
    text: str, variable: str, where: str, constants: Mapping[str, float | Real] | None = None
) -> Expression:
    """Return the expression that `text` states; every name besides `variable` and `constants` is a parameter.

    Parameters
    ----------
    text
        Arithmetic with `+ - * / **`, numbers, names, pi, and the functions exp, log, sqrt, sin, cos, tanh, erf, abs.
    variable
        Name of the independent variable.
    where
        What the error calls it.
    constants
        Names that stand for numbers, such as TR, or for one number for each spectrum.

    Raises
    ------
    InputError
        It is no such expression.

    """
    if len(text) > _LONGEST:
        raise InputError(f"{where}: an expression of {len(text)} characters, expected at most {_LONGEST}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: {text[:60]!r} is no arithmetic expression") from error
    names: list[str] = []
    known = {name: value for name, value in (constants or {}).items() if isinstance(value, np.ndarray)}
    numbers = {name: float(value) for name, value in (constants or {}).items() if name not in known}
    tree = _build(body, names, where, {**_CONSTANTS, **numbers})
    parameters = tuple(dict.fromkeys(name for name in names if name != variable and name not in known))
    if len(parameters) > _MOST_PARAMETERS:
        raise InputError(f"{where}: has {len(parameters)} parameters, expected at most {_MOST_PARAMETERS}")
    return Expression(text, variable, parameters, sympy.sympify(tree), known)


def _build(node: ast.AST, names: list[str], where: str, constants: Mapping[str, float]) -> Any:
    """Return the sympy expression of one node of the grammar; numbers are floats throughout."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _finite(node.value, where)
    if isinstance(node, ast.Name):
        if node.id in constants:
            return _finite(constants[node.id], where)
        if node.id in _FUNCTIONS or node.id.startswith("_"):
            raise InputError(f"{where}: {node.id!r} cannot be the name of a parameter")
        names.append(node.id)
        return sympy.Symbol(node.id, real=True)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        inner = _build(node.operand, names, where, constants)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = (_build(side, names, where, constants) for side in (node.left, node.right))
        return _power(base, power, where)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_build(side, names, where, constants) for side in (node.left, node.right))
        if isinstance(node.op, ast.Div) and not _is_symbolic(right) and right == 0:
            raise InputError(f"{where}: divides by zero")
        return _folded(_OPERATORS[type(node.op)](left, right), where)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        if len(node.args) != 1 or node.keywords:
            raise InputError(f"{where}: {node.func.id} takes one argument")
        return _called(node.func.id, _build(node.args[0], names, where, constants), where)
    raise InputError(
        f"{where}: has {type(node).__name__}, expected numbers, names, + - * / ** and {', '.join(_FUNCTIONS)}"
    )


def _power(base: Any, power: Any, where: str) -> Any:
    if not _is_symbolic(power) and abs(float(power)) > _LARGEST_POWER:
        raise InputError(f"{where}: a power of {float(power):g}, expected at most {_LARGEST_POWER:g}")
    if not _is_symbolic(base) and not _is_symbolic(power):
        return _computed(lambda: float(base) ** float(power), where)
    whole = not _is_symbolic(power) and float(power).is_integer()
    return _folded(base ** (int(power) if whole else power), where)


def _called(name: str, argument: Any, where: str) -> Any:
    symbolic, numeric = _FUNCTIONS[name]
    if not _is_symbolic(argument):
        return _computed(lambda: float(numeric(float(argument))), where)
    return symbolic(argument)


def _computed(function: Callable[[], Any], where: str) -> float:
    """Return a number that only numbers make."""
    try:
        with np.errstate(all="ignore"):
            value = function()
    except (ArithmeticError, ValueError) as error:
        raise InputError(f"{where}: a part of it is no finite number") from error
    return _finite(value, where)


def _folded(value: Any, where: str) -> Any:
    """Return what has no symbol left as a float, so that sympy never meets numbers beyond those of a computer."""
    return value if _is_symbolic(value) else _finite(value, where)


def _finite(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: a part of it is no real number") from error
    if not math.isfinite(number):
        raise InputError(f"{where}: a part of it is no finite number")
    return number


def _is_symbolic(value: Any) -> bool:
    return bool(getattr(value, "free_symbols", ()))


def evaluate(tree: Any, variable: str, x: Real, values: Mapping[str, float | Real]) -> Real:
    """Return a sympy expression at each x, by walking its tree; shape (n_x,). What is not finite becomes NaN."""

    def walk(node: Any) -> Any:
        if node.is_Symbol:
            return x if node.name == variable else values[node.name]
        if node.is_number:
            return float(node)
        parts = [walk(part) for part in node.args]
        if node.is_Add:
            return sum(parts[1:], parts[0])
        if node.is_Mul:
            return math.prod(parts[1:], start=parts[0])
        if node.is_Pow:
            return np.power(parts[0], parts[1])
        if node.func not in _NUMERIC:
            raise InputError(
                f"model {tree}: its derivative needs {node.func.__name__}, which is not known here"
            )
        return _NUMERIC[node.func](*parts)

    with np.errstate(all="ignore"):
        found = np.broadcast_to(np.asarray(walk(tree), dtype=np.float64), x.shape).copy()
    found[~np.isfinite(found)] = np.nan
    return found
