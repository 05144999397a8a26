"""What PRESS, STEAM, MEGA-PRESS and semi-LASER make of weakly coupled spins, in closed form.

Each sequence is played with ideal pulses and ideal crushers on product operators (`product_operators`) up to
the echo; nothing about its result is put in. Relaxation and diffusion are left out. `docs/product-operators.md`
has the formulas, and a test compares them with what these functions return.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import comb
from typing import Literal

import numpy as np
import sympy

from pulsespec.errors import InputError
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.product_operators import (
    ProductOperators,
    Term,
    WeakSystem,
    equilibrium,
    kept,
    precess,
    rotate,
    select_order,
    subtract,
)
from pulsespec.simulator.waves import Expr, Waves, closed_form, constant

TE, TE1, TE2, TM = sympy.symbols("TE TE1 TE2 TM", positive=True)
"""Echo and mixing times in s."""
TAU1, TAU2 = sympy.symbols("tau1 tau2", positive=True)
"""Times in s from each refocusing pulse of MEGA-PRESS to the editing pulse after it."""
D1, D2, D3 = sympy.symbols("d1 d2 d3", positive=True)
"""Distances in s between the first four pulses of semi-LASER."""

Passage = Literal["both", "longitudinal", "zero-quantum"]
"""What of a state is kept during TM."""

_X, _Y = sympy.Integer(0), sympy.pi / 2


@dataclass(frozen=True)
class Multiplet:
    """What the receiver sees of one group of equivalent spins, at the echo."""

    system: WeakSystem
    group: str
    amplitudes: Mapping[tuple[int, ...], Expr]
    """Complex amplitude of a spin's in-phase and antiphase terms: 1 is Ix, i is Iy, of one proton.

    The key is the number of spins of each other group, in the system's order, that the term is antiphase to:
    for A of AX, (0,) is Ax and (1,) is 2 Ax Xz. All terms with the same numbers have this amplitude.
    """

    @property
    def partners(self) -> dict[str, int]:
        """Numbers of spins of the other groups."""
        return {group: n for group, n in self.system.groups.items() if group != self.group}


def press(system: WeakSystem, te1_s: Expr = TE1, te2_s: Expr = TE2) -> ProductOperators:
    """Return the state at the echo of 90 - TE1/2 - 180 - (TE1 + TE2)/2 - 180 - TE2/2, pathway -1, +1, -1."""
    state = _interval(_excited(system), te1_s / 2, -1)
    state = _interval(_refocused(state), (te1_s + te2_s) / 2, 1)
    return _interval(_refocused(state), te2_s / 2, -1)


def steam(
    system: WeakSystem, te_s: Expr = TE, tm_s: Expr = TM, *, through: Passage = "both"
) -> ProductOperators:
    """Return the state at the stimulated echo of 90 - TE/2 - 90 - TM - 90 - TE/2, pathway +1, 0, -1.

    Gradients do not dephase zero-quantum coherences, so these pass through TM beside longitudinal order.

    Parameters
    ----------
    system
        Spins.
    te_s, tm_s
        Times in s.
    through
        What is kept during TM; a real sequence keeps both, and its signal is the sum of the two.

    """
    state = _interval(_excited(system), te_s / 2, 1)
    state = select_order(rotate(state, sympy.pi / 2, -_Y), 0)
    if through != "both":
        state = kept(state, lambda term: _is_longitudinal(term) == (through == "longitudinal"))
    state = _interval(state, tm_s, 0)
    return _interval(rotate(state, sympy.pi / 2, _Y), te_s / 2, -1)


def mega_press(
    system: WeakSystem,
    te1_s: Expr = TE1,
    te2_s: Expr = TE2,
    tau1_s: Expr = TAU1,
    tau2_s: Expr = TAU2,
    *,
    edited: str | None = "X",
) -> ProductOperators:
    """Return the state at the echo of PRESS with an ideal selective 180 after each refocusing pulse.

    Parameters
    ----------
    system
        Spins.
    te1_s, te2_s
        Echo times in s.
    tau1_s, tau2_s
        From the first refocusing pulse to the first editing pulse, from the second to the second, in s.
    edited
        The group that the editing pulses turn (on), or `None`: they turn nothing (off).

    """
    between = (te1_s + te2_s) / 2
    state = _interval(_excited(system), te1_s / 2, -1)
    state = _interval(_refocused(state), tau1_s, 1)
    state = _interval(_edited(state, edited), between - tau1_s, 1)
    state = _interval(_refocused(state), tau2_s, -1)
    return _interval(_edited(state, edited), te2_s / 2 - tau2_s, -1)


def mega_press_difference(system: WeakSystem, edited: str = "X") -> ProductOperators:
    """Return the state on minus off of `mega_press` with its times as symbols."""
    return subtract(mega_press(system, edited=edited), mega_press(system, edited=None))


def semi_laser(
    system: WeakSystem, te_s: Expr = TE, d1_s: Expr = D1, d2_s: Expr = D2, d3_s: Expr = D3
) -> ProductOperators:
    """Return the state at the echo of 90 - d1 - 180 - d2 - 180 - d3 - 180 - d4 - 180 - d5.

    Shifts are refocused, so d4 = TE/2 - d2 and d5 = TE/2 - d1 - d3. Four ideal 180s are one spin echo.
    """
    state, order = _interval(_excited(system), d1_s, -1), -1
    for distance in (d2_s, d3_s, te_s / 2 - d2_s, te_s / 2 - d1_s - d3_s):
        order = -order
        state = _interval(_refocused(state), distance, order)
    return state


def multiplets(state: ProductOperators) -> dict[str, Multiplet]:
    """Return what the receiver sees of each group, by its letter.

    Terms that are antiphase to spins of the same group are left out: these have no coupling that would make
    them visible.
    """
    return {group: _multiplet(state, group) for group in state.system.groups}


def lines(found: Mapping[str, Multiplet], values: Mapping[str, float]) -> Lines:
    """Return the lines of all multiplets at numbers for all symbols (J, nu_A, TE ..., in Hz and s).

    Frequencies count from the carrier; the first sample is the echo; one fully excited proton is 1.

    Raises
    ------
    InputError
        A symbol has no value.

    """
    frequencies, amplitudes = [], []
    for multiplet in found.values():
        terms = {key: _number(value, values) for key, value in multiplet.amplitudes.items()}
        system, partners = multiplet.system, multiplet.partners
        centre = _number(system.shift_hz(multiplet.group), values).real
        j_hz = [_number(system.j_hz(multiplet.group, other), values).real for other in partners]
        for down in product(*[range(n + 1) for n in partners.values()]):
            m = [n / 2 - d for n, d in zip(partners.values(), down, strict=True)]
            frequencies.append(centre + float(np.dot(j_hz, m)))
            weights = [value * _pattern(key, down, tuple(partners.values())) for key, value in terms.items()]
            amplitudes.append(system.groups[multiplet.group] * sum(weights))
    return Lines(np.array(frequencies), np.array(amplitudes, dtype=complex))


def formulas(found: Mapping[str, Multiplet]) -> str:
    """Return the amplitudes as text, a line each: `A` is in phase, `A antiphase to 2 X` is 4 Ax Xz Xz."""
    rows = []
    for group, multiplet in found.items():
        for key, value in sorted(multiplet.amplitudes.items()):
            to = " and ".join(f"{n} {other}" for n, other in zip(key, multiplet.partners, strict=True) if n)
            rows.append(f"{group}{' antiphase to ' + to if to else ''}: {value}")
        if not multiplet.amplitudes:
            rows.append(f"{group}: 0")
    return "\n".join(rows)


def _excited(system: WeakSystem) -> ProductOperators:
    return rotate(equilibrium(system), sympy.pi / 2, _Y)


def _refocused(state: ProductOperators) -> ProductOperators:
    return rotate(state, sympy.pi, _X)


def _edited(state: ProductOperators, edited: str | None) -> ProductOperators:
    return state if edited is None else rotate(state, sympy.pi, _X, [edited])


def _interval(state: ProductOperators, duration_s: Expr, order: int) -> ProductOperators:
    return precess(select_order(state, order), sympy.sympify(duration_s))


def _is_longitudinal(term: Term) -> bool:
    return not {"+", "-"} & set(term)


def _multiplet(state: ProductOperators, group: str) -> Multiplet:
    """Sum the terms I- (other spins 1 or z) of one spin; 2^(q - 1) I- Iz ... (q factors z) is one unit."""
    system, spins = state.system, state.system.spins
    observed = spins.index(group)
    others = [other for other in system.groups if other != group]
    sums: dict[tuple[int, ...], Waves] = {}
    for term, value in state.terms.items():
        rest = [
            (letter, other)
            for k, (letter, other) in enumerate(zip(term, spins, strict=True))
            if k != observed
        ]
        if term[observed] != "-" or any(a in "+-" or (a == "z" and g == group) for a, g in rest):
            continue
        key = tuple(sum(letter == "z" and g == other for letter, g in rest) for other in others)
        ways = sympy.prod([comb(system.groups[other], n) for other, n in zip(others, key, strict=True)])
        part = value * constant(sympy.Rational(2, 2 ** sum(key)) / ways)
        sums[key] = sums[key] + part if key in sums else part
    return Multiplet(system, group, {key: closed_form(value) for key, value in sums.items() if value})


def _number(value: Expr, values: Mapping[str, float]) -> complex:
    names = {symbol: values.get(symbol.name) for symbol in sympy.sympify(value).free_symbols}
    missing = sorted(symbol.name for symbol, number in names.items() if number is None)
    if missing:
        raise InputError(f"values: nothing for {', '.join(missing)}, only {', '.join(values)}")
    return complex(sympy.sympify(value).subs(names))


def _pattern(antiphase: tuple[int, ...], down: tuple[int, ...], spins: tuple[int, ...]) -> float:
    """Return the share of one line, `down` partners of which are down, in all terms with these antiphase numbers.

    The products of signs of q out of n partners, summed: a Krawtchouk polynomial, in-phase for q = 0.
    """
    share = 1.0
    for q, d, n in zip(antiphase, down, spins, strict=True):
        signs = sum((-1) ** j * comb(d, j) * comb(n - d, q - j) for j in range(min(d, q) + 1))
        share *= signs * comb(n, d) / 2**n
    return share
