"""Product operators of weakly coupled spins 1/2, as sympy expressions.

The state is a polynomial in the operators of single spins, here Iz, I+ = Ix + i Iy and I- = Ix - i Iy, in
which shifts are phases and coherence orders can be read off (Sorensen et al. 1983, doi:10.1016/0079-6565(84)80005-9;
recalled). Pulses are ideal: no duration, no slice. Pulseq sense: a positive shift is a higher frequency,
exp(-i 2 pi nu t Iz), a pulse of phase 0 turns about +x, and the signal is Tr(rho F+), which sees order -1.

This module imports sympy, so `pulsespec.simulator` does not import it by itself.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product

import sympy

from pulsespec.errors import InputError
from pulsespec.simulator.waves import Expr, Waves, closed_form, constant, cosine, sine, wave

Term = tuple[str, ...]
"""One factor for each spin: "1", "z", "+" or "-"."""

_ORDER = {"1": 0, "z": 0, "+": 1, "-": -1}


@dataclass(frozen=True)
class WeakSystem:
    """Groups of magnetically equivalent spins 1/2; spins of different groups are weakly coupled."""

    spins: tuple[str, ...]
    """The group that each spin belongs to, as ("A", "A", "X")."""

    @property
    def groups(self) -> dict[str, int]:
        """Number of spins of each group."""
        return dict(Counter(self.spins))

    def shift_hz(self, group: str) -> Expr:
        """Return the symbol of a group's offset from the carrier in Hz, nu_A."""
        return sympy.Symbol(f"nu_{group}", real=True)

    def j_hz(self, one: str, other: str) -> Expr:
        """Return the symbol of a coupling in Hz: J where there are two groups, else J_AX."""
        pair = "" if len(self.groups) == 2 else "_" + "".join(sorted((one, other)))
        return sympy.Symbol(f"J{pair}", real=True)


@dataclass(frozen=True)
class ProductOperators:
    """A state (or any operator) of a system: a sum of coefficient * product of single-spin operators."""

    system: WeakSystem
    terms: Mapping[Term, Waves]
    """Coefficients, none of them zero; the operators are plain products, without powers of two."""

    def coefficient(self, term: Term) -> Expr:
        """Return the coefficient of one product as a closed form, zero where it is not there."""
        return closed_form(self.terms.get(term, Waves({})))


def spin_system(name: str) -> WeakSystem:
    """Return the system of a name like AX, A2X or A3X (or AMX): letters are groups, numbers their spins.

    Raises
    ------
    InputError
        The name is not one of different letters with numbers, at least two of them.

    """
    found = re.findall(r"([A-Z])([1-9]?)", name)
    letters = [letter for letter, _ in found]
    if "".join(a + b for a, b in found) != name or len(set(letters)) != len(letters) or len(letters) < 2:
        raise InputError(f"spin system {name!r}: expected two or more different letters, as AX, A2X or AMX")
    return WeakSystem(tuple(letter for letter, number in found for _ in range(int(number or 1))))


def equilibrium(system: WeakSystem) -> ProductOperators:
    """Return the sum of all Iz."""
    n = len(system.spins)
    terms = {tuple("z" if spin == k else "1" for spin in range(n)): constant(1) for k in range(n)}
    return ProductOperators(system, terms)


def rotate(
    state: ProductOperators, flip: Expr, phase: Expr, groups: Iterable[str] | None = None
) -> ProductOperators:
    """Return the state after an ideal pulse, exp(-i flip (Ix cos(phase) + Iy sin(phase))).

    Parameters
    ----------
    state
        What the pulse acts on.
    flip, phase
        Angles in rad; numbers with pi should be sympy's, so that they stay exact.
    groups
        Groups that the pulse turns, by default all: an ideal editing pulse turns its own group only.

    """
    turned = set(state.system.groups if groups is None else groups)
    unknown = turned - set(state.system.spins)
    if unknown:
        raise InputError(f"pulse: turns {', '.join(sorted(unknown))}, the system has {state.system.spins}")
    table = _turn(sympy.sympify(flip), sympy.sympify(phase))
    stay = {letter: {letter: constant(1)} for letter in _ORDER}
    by_spin = [table if group in turned else stay for group in state.system.spins]
    return _mapped(state, lambda term: [by_spin[k][letter] for k, letter in enumerate(term)])


def precess(state: ProductOperators, duration_s: Expr) -> ProductOperators:
    """Return the state after shifts and couplings have acted for `duration_s`."""
    system = state.system
    turned = _mapped(
        state, lambda term: [{letter: constant(1)} for letter in term], _shift(system, duration_s)
    )
    for one, other in combinations(range(len(system.spins)), 2):
        if system.spins[one] != system.spins[other]:
            angle = sympy.pi * system.j_hz(system.spins[one], system.spins[other]) * duration_s
            turned = _coupled(turned, one, other, angle)
    return turned


def select_order(state: ProductOperators, order: int) -> ProductOperators:
    """Return what ideal crushers keep: the terms of one coherence order."""
    return kept(state, lambda term: sum(_ORDER[letter] for letter in term) == order)


def kept(state: ProductOperators, wanted: Callable[[Term], bool]) -> ProductOperators:
    """Return the terms that `wanted` is true of."""
    return ProductOperators(state.system, {t: c for t, c in state.terms.items() if wanted(t)})


def subtract(one: ProductOperators, other: ProductOperators) -> ProductOperators:
    """Return one - other, two states of the same system."""
    if one.system != other.system:
        raise InputError(f"subtract: got states of {one.system.spins} and {other.system.spins}")
    negative = [(term, value * constant(-1)) for term, value in other.terms.items()]
    return ProductOperators(one.system, _summed([*one.terms.items(), *negative]))


def cartesian(state: ProductOperators) -> Expr:
    """Return the state as a polynomial in symbols as A_x, A2_y, X_z (numbered where a group has several)."""
    row = {
        "1": {"1": constant(1)},
        "z": {"z": constant(1)},
        "+": {"x": constant(1), "y": constant(sympy.I)},
        "-": {"x": constant(1), "y": constant(-sympy.I)},
    }
    changed = _mapped(state, lambda term: [row[letter] for letter in term])
    names = [_name(state.system, spin) for spin in range(len(state.system.spins))]
    total = sympy.Integer(0)
    for term in changed.terms:
        factors = [
            sympy.Symbol(f"{n}_{letter}") for n, letter in zip(names, term, strict=True) if letter != "1"
        ]
        total += changed.coefficient(term) * sympy.prod(factors)
    return total


def _name(system: WeakSystem, spin: int) -> str:
    group = system.spins[spin]
    return f"{group}{system.spins[: spin + 1].count(group)}" if system.groups[group] > 1 else group


def _turn(flip: Expr, phase: Expr) -> dict[str, dict[str, Waves]]:
    """Return what a pulse makes of the operators of one spin."""
    passed, inverted = sympy.cos(flip / 2) ** 2, sympy.sin(flip / 2) ** 2
    to_plane = sympy.I * sympy.sin(flip) / 2
    ahead = sympy.exp(sympy.I * phase)
    back = 1 / ahead
    table = {
        "1": {"1": 1},
        "z": {"z": sympy.cos(flip), "+": to_plane * back, "-": -to_plane * ahead},
        "+": {"+": passed, "-": inverted * ahead**2, "z": 2 * to_plane * ahead},
        "-": {"-": passed, "+": inverted * back**2, "z": -2 * to_plane * back},
    }
    waves = {start: {end: constant(value) for end, value in row.items()} for start, row in table.items()}
    return {start: {end: value for end, value in row.items() if value} for start, row in waves.items()}


def _shift(system: WeakSystem, duration_s: Expr) -> Callable[[Term], Waves]:
    def factor(term: Term) -> Waves:
        hz = sum((_ORDER[a] * system.shift_hz(g) for a, g in zip(term, system.spins, strict=True)), start=0)
        return wave(-2 * sympy.pi * hz * duration_s)

    return factor


def _coupled(state: ProductOperators, one: int, other: int, angle: Expr) -> ProductOperators:
    """Let 2 angle Iz Sz act: it turns in phase into antiphase where exactly one of the two is transverse."""
    cos, sin = cosine(angle), sine(angle)

    def turned(term: Term) -> list[dict[str, Waves]]:
        row = [{letter: constant(1)} for letter in term]
        orders = (_ORDER[term[one]], _ORDER[term[other]])
        if (orders[0] == 0) != (orders[1] == 0):
            partner = other if orders[0] else one
            weight = -2 * sympy.I if term[partner] == "1" else -sympy.I / 2
            flipped = "z" if term[partner] == "1" else "1"
            row[partner] = {term[partner]: cos, flipped: sin * constant(weight * sum(orders))}
        return row

    return _mapped(state, turned)


def _mapped(
    state: ProductOperators,
    rows: Callable[[Term], Sequence[Mapping[str, Waves]]],
    factor: Callable[[Term], Waves] = lambda term: constant(1),
) -> ProductOperators:
    """Replace the operator of each spin in each term by a sum of operators."""
    found = []
    for term, value in state.terms.items():
        whole = value * factor(term)
        for choice in product(*[row.items() for row in rows(term)]):
            letters = tuple(letter for letter, _ in choice)
            found.append((letters, reduce(lambda a, b: a * b, [part for _, part in choice], whole)))
    return ProductOperators(state.system, _summed(found))


def _summed(items: Iterable[tuple[Term, Waves]]) -> dict[Term, Waves]:
    found: dict[Term, Waves] = {}
    for term, value in items:
        found[term] = found[term] + value if term in found else value
    return {term: value for term, value in found.items() if value}
