"""Sums of complex exponentials with symbolic phases, and their shortest form in sines and cosines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import gcd, lcm
from typing import Any

import sympy

Expr = Any
"""A sympy expression (sympy has no types)."""

_Powers = tuple[int, ...]
_FEW_WAVES = 8
"""The phases of sums of up to so many waves are factored, for reading."""
_MOST_WAVES = 24
"""Of a factor with more waves than these, only so many are tried for its middle."""


@dataclass(frozen=True)
class Waves:
    """A sum of amplitude * exp(i phase), closed under addition and multiplication."""

    amplitudes: Mapping[Expr, Expr]
    """Amplitude of each phase; phases are expanded polynomials in rad, none is there with a zero."""

    def __add__(self, other: "Waves") -> "Waves":
        return _gathered([*self.amplitudes.items(), *other.amplitudes.items()])

    def __mul__(self, other: "Waves") -> "Waves":
        return _gathered(
            (one + two, sympy.expand(a * b))
            for one, a in self.amplitudes.items()
            for two, b in other.amplitudes.items()
        )

    def __bool__(self) -> bool:
        return bool(self.amplitudes)


def constant(value: Expr) -> Waves:
    """Return a number (or an expression without a phase of its own) as `Waves`."""
    return _gathered([(sympy.Integer(0), sympy.sympify(value))])


def wave(phase: Expr) -> Waves:
    """Return exp(i phase)."""
    return Waves({sympy.expand(phase): sympy.Integer(1)})


def cosine(phase: Expr) -> Waves:
    """Return cos(phase)."""
    return (wave(phase) + wave(-phase)) * constant(sympy.Rational(1, 2))


def sine(phase: Expr) -> Waves:
    """Return sin(phase)."""
    return (wave(phase) + wave(-phase) * constant(-1)) * constant(-sympy.I / 2)


def closed_form(waves: Waves) -> Expr:
    """Return the sum as a product of real sines and cosines and sums of them, as far as it factors.

    The sum is a Laurent polynomial in exp(i x), exp(i y) ... It is factored over the rationals, and in each
    factor waves of opposite phase are put together, so cos(x)^3 comes back as such. Where amplitudes are not
    rational (a symbolic flip angle), only the second is done.
    """
    common = next((unit for unit in (sympy.Integer(1), sympy.I) if _all_rational(waves, unit)), None)
    if not waves or common is None:
        return _trigonometric(waves)
    units, table = _powers(waves)
    polynomial = sympy.Poly.from_dict(
        {powers: amplitude / common for powers, amplitude in table.powers.items()},
        *[sympy.Dummy() for _ in units or [None]],
    )
    content, factors = sympy.factor_list(polynomial)
    result, phase = common, table.origin
    for factor, multiplicity in factors:
        shape, middle = _factor(factor.as_dict(), units)
        number, shape = shape.as_content_primitive()
        content *= number**multiplicity
        result *= shape**multiplicity
        phase += middle * multiplicity
    return content * _doubled(result) * sympy.exp(sympy.I * _neat(sympy.expand(phase)))


@dataclass(frozen=True)
class _Table:
    """A sum as a polynomial: powers of the unit waves, and the phase of the power zero."""

    powers: Mapping[_Powers, Expr]
    origin: Expr


def _gathered(items: Iterable[tuple[Expr, Expr]]) -> Waves:
    found: dict[Expr, Expr] = {}
    for phase, amplitude in items:
        found[phase] = found.get(phase, 0) + amplitude
    return Waves({phase: amplitude for phase, amplitude in found.items() if amplitude != 0})


def _all_rational(waves: Waves, unit: Expr) -> bool:
    return all((amplitude / unit).is_Rational for amplitude in waves.amplitudes.values())


def _powers(waves: Waves) -> tuple[list[Expr], _Table]:
    """Return the phases of the unit waves and the sum as a polynomial in them, lowest power zero.

    A unit is the largest phase of which all differences are multiples, one for each product of symbols.
    """
    parts = {phase: _rationals(phase) for phase in waves.amplitudes}
    symbols = sorted({symbol for part in parts.values() for symbol in part}, key=sympy.default_sort_key)
    units, rows, origin = [], [], sympy.Integer(0)
    for symbol in symbols:
        column = [part.get(symbol, Fraction(0)) for part in parts.values()]
        lowest = min(column)
        origin += sympy.Rational(lowest) * symbol
        step = _common([value - lowest for value in column])
        if step:
            units.append(sympy.Rational(step) * symbol)
            rows.append([int((value - lowest) / step) for value in column])
    powers = list(zip(*rows, strict=True)) if rows else [(0,)] * len(parts)
    return units, _Table(dict(zip(powers, waves.amplitudes.values(), strict=True)), origin)


def _rationals(phase: Expr) -> dict[Expr, Fraction]:
    return {
        symbol: Fraction(int(number.p), int(number.q))
        for symbol, number in phase.as_coefficients_dict().items()
        if number
    }


def _common(values: list[Fraction]) -> Fraction:
    """Return the greatest common divisor of fractions."""
    below = lcm(*[value.denominator for value in values])
    return Fraction(gcd(*[int(value * below) for value in values]), below)


def _factor(powers: Mapping[_Powers, Expr], units: list[Expr]) -> tuple[Expr, Expr]:
    """Return a factor as sines and cosines about its middle phase, and that phase.

    The middle is where most waves have a partner of the same size on the other side.
    """
    waves = {p: amplitude for p, amplitude in powers.items() if amplitude != 0}

    sizes = {p: abs(amplitude) for p, amplitude in waves.items()}

    def partners(twice: _Powers) -> int:
        mirrored = (tuple(m - n for m, n in zip(twice, p, strict=True)) for p in sizes)
        return sum(sizes.get(q) == size for q, size in zip(mirrored, sizes.values(), strict=True))

    pairs = combinations_with_replacement(sorted(waves)[:_MOST_WAVES], 2)
    twice = max((tuple(a + b for a, b in zip(p, q, strict=True)) for p, q in pairs), key=partners)
    about = {
        sympy.Add(
            *[(n - sympy.Rational(m, 2)) * unit for n, m, unit in zip(p, twice, units, strict=False)]
        ): a
        for p, a in waves.items()
    }
    middle = sympy.Add(*[sympy.Rational(m, 2) * unit for m, unit in zip(twice, units, strict=False)])
    return _trigonometric(Waves(about)), middle


def _trigonometric(waves: Waves) -> Expr:
    """Return a sum with waves of opposite phases put together as cosines and sines."""
    total, seen = sympy.Integer(0), set()
    for phase, amplitude in waves.amplitudes.items():
        if phase in seen:
            continue
        seen |= {phase, -phase}
        opposite = waves.amplitudes.get(-phase, sympy.Integer(0)) if phase != 0 else sympy.Integer(0)
        shown = _neat(phase) if len(waves.amplitudes) <= _FEW_WAVES else phase
        if opposite == 0:
            total += amplitude * sympy.exp(sympy.I * shown)
            continue
        total += sympy.expand(amplitude + opposite) * sympy.cos(shown)
        total += sympy.I * sympy.expand(amplitude - opposite) * sympy.sin(shown)
    return total


def _doubled(factors: Expr) -> Expr:
    """Return a product with sin(x)^n cos(x)^n written as (sin(2 x) / 2)^n."""
    powers = factors.as_powers_dict()
    for base, power in list(powers.items()):
        if isinstance(base, sympy.sin) and powers.get(sympy.cos(base.args[0])) == power:
            x = base.args[0]
            factors = factors / (base * sympy.cos(x)) ** power * (sympy.sin(_neat(2 * x)) / 2) ** power
    return factors


def _neat(phase: Expr) -> Expr:
    return sympy.factor(phase)
