"""Product operators against dense density matrices, against the engine, and against the page in docs/."""

import re
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest
import sympy
from scipy.linalg import expm

from pulsespec.errors import InputError
from pulsespec.simulator import closed_forms
from pulsespec.simulator.closed_forms import formulas, lines, multiplets
from pulsespec.simulator.equivalence import reduce_system
from pulsespec.simulator.operators import operators
from pulsespec.simulator.product_operators import (
    cartesian,
    equilibrium,
    precess,
    rotate,
    select_order,
    spin_system,
    subtract,
)
from pulsespec.simulator.spinsystem import SpinSystem
from pulsespec.simulator.waves import Waves, closed_form, constant, cosine, sine, wave

PAGE = Path(__file__).resolve().parent.parent / "docs" / "product-operators.md"
SYSTEMS = ("AX", "A2X", "A3X")
VALUES = {"J": 7.3, "nu_A": -211.0, "nu_X": 155.0, "TE": 0.033, "TE1": 0.0131, "TE2": 0.0247, "TM": 0.0123}
VALUES |= {"tau1": 0.0043, "tau2": 0.0031, "d1": 0.0037, "d2": 0.0071, "d3": 0.0095}
TIMES_S = np.arange(64) * 1.7e-3


def spins_half(n):
    paulis = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]) / 2
    places = [[paulis if i == k else np.eye(2)[None].repeat(3, 0) for i in range(n)] for k in range(n)]
    return np.array([[reduce(np.kron, [m[a] for m in row]) for a in range(3)] for row in places])


@cache
def closed(sequence, name):
    """The signal of the closed forms at VALUES and TIMES_S."""
    found = lines(multiplets(getattr(closed_forms, sequence)(spin_system(name))), VALUES)
    return np.exp(2j * np.pi * np.outer(TIMES_S, found.frequency_hz)) @ found.amplitude


class Dense:
    """Exact matrices in the weak-coupling limit; crushers are averages over turns about z."""

    def __init__(self, name, single=None, groups=None):
        self.spins = spin_system(name).spins if groups is None else groups
        self.single = spins_half(len(self.spins)) if single is None else single
        self.total = self.single.sum(0)
        shifts = np.array([VALUES[f"nu_{group}"] for group in self.spins])
        self.free = np.einsum("k,kab->ab", shifts, self.single[:, 2])
        for i in range(len(self.spins)):
            for k in range(i):
                if self.spins[i] != self.spins[k]:
                    self.free = self.free + VALUES["J"] * self.single[i, 2] @ self.single[k, 2]

    def pulse(self, rho, flip, phase, group=None):
        turned = self.single[[group in (None, spin) for spin in self.spins]].sum(0)
        u = expm(-1j * flip * (np.cos(phase) * turned[0] + np.sin(phase) * turned[1]))
        return u @ rho @ u.conj().T

    def wait(self, rho, duration_s):
        u = expm(-2j * np.pi * duration_s * self.free)
        return u @ rho @ u.conj().T

    def crush(self, rho, order):
        """Turn by n equal angles and take the mean with the phase of one order: exact from n = 2 spins + 1."""
        angles = 2 * np.pi * np.arange(9) / 9
        turns = [expm(-1j * angle * self.total[2]) for angle in angles]
        return (
            sum(np.exp(1j * order * a) * u @ rho @ u.conj().T for a, u in zip(angles, turns, strict=True)) / 9
        )

    def play(self, steps):
        rho = self.total[2]
        for kind, *arguments in steps:
            rho = getattr(self, kind)(rho, *arguments)
        return rho

    def fid(self, rho):
        raising = self.total[0] + 1j * self.total[1]
        scale = 4 / 2 ** len(self.spins)
        return scale * np.array([np.trace(self.wait(rho, t) @ raising) for t in TIMES_S])


def interval(duration_s, order):
    return [("crush", order), ("wait", duration_s)]


EXCITE, REFOCUS = ("pulse", np.pi / 2, np.pi / 2), ("pulse", np.pi, 0.0)
EDIT = ("pulse", np.pi, 0.0, "X")
HALF1, HALF2 = VALUES["TE1"] / 2, VALUES["TE2"] / 2
T1, T2 = VALUES["tau1"], VALUES["tau2"]


def mega(edit):
    return [
        EXCITE,
        *interval(HALF1, -1),
        REFOCUS,
        *interval(T1, 1),
        *edit,
        *interval(HALF1 + HALF2 - T1, 1),
        REFOCUS,
        *interval(T2, -1),
        *edit,
        *interval(HALF2 - T2, -1),
    ]


def slaser():
    te, d1, d2, d3 = (VALUES[key] for key in ("TE", "d1", "d2", "d3"))
    steps = [EXCITE]
    for order, distance in zip((-1, 1, -1, 1, -1), (d1, d2, d3, te / 2 - d2, te / 2 - d1 - d3), strict=True):
        steps += [*interval(distance, order), REFOCUS]
    return steps[:-1]


STEAM = [
    EXCITE,
    *interval(VALUES["TE"] / 2, 1),
    ("pulse", np.pi / 2, -np.pi / 2),
    *interval(VALUES["TM"], 0),
    EXCITE,
    *interval(VALUES["TE"] / 2, -1),
]
PLAYED = {
    "press": mega([]),
    "steam": STEAM,
    "mega_press": mega([EDIT]),
    "semi_laser": slaser(),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("sequence", PLAYED)
def test_signal_agrees_with_dense_density_matrices(sequence, name):
    dense = Dense(name)
    expected = dense.fid(dense.play(PLAYED[sequence]))
    assert np.abs(expected).max() > 0.1
    assert np.abs(closed(sequence, name) - expected).max() < 1e-10


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("sequence", PLAYED)
def test_total_spins_give_the_same_modulation(sequence, name):
    """The engine's way of making equivalent spins one: its weights and operators, with ideal pulses."""
    groups = spin_system(name).spins
    n = len(groups)
    j_hz = np.array([[VALUES["J"] * (one != other) for other in groups] for one in groups])
    whole = SpinSystem(name, np.array([4.0 if group == "A" else 1.0 for group in groups]), j_hz)
    got = 0
    for part in reduce_system(whole):
        letters = tuple("A" if shift == 4.0 else "X" for shift in part.shifts_ppm)
        dense = Dense(name, operators(part.spins).single, letters)
        unscaled = dense.fid(dense.play(PLAYED[sequence])) * 2 ** len(letters) / 4
        got = got + part.weight * unscaled
    assert n == 2 or len(part.spins) < n
    assert np.abs(closed(sequence, name) - got).max() < 1e-10


@pytest.mark.parametrize("name", SYSTEMS)
def test_mega_press_difference_agrees_with_dense_density_matrices(name):
    dense = Dense(name)
    expected = dense.fid(dense.play(mega([EDIT]))) - dense.fid(dense.play(mega([])))
    assert np.abs(closed("mega_press_difference", name) - expected).max() < 1e-10


@cache
def at_values(expression):
    return complex(expression.subs({s: VALUES[s.name] for s in expression.free_symbols}))


def as_matrix(dense, state):
    """The matrix of a symbolic state at VALUES."""
    x, y, z = dense.single.transpose(1, 0, 2, 3)
    letters = {"z": z, "+": x + 1j * y, "-": x - 1j * y}
    total = np.zeros_like(z[0])
    for term in state.terms:
        factors = [letters[letter][k] for k, letter in enumerate(term) if letter != "1"]
        number = sum(
            at_values(a) * np.exp(1j * at_values(p)) for p, a in state.terms[term].amplitudes.items()
        )
        total = total + number * reduce(np.matmul, factors, np.eye(len(total)))
    return total


@pytest.mark.parametrize("name", SYSTEMS)
def test_any_pulses_keep_trace_hermiticity_and_purity(name):
    """Arbitrary flips, no crusher: the whole matrix is that of exact propagators, and what is kept is kept."""
    dense, state = Dense(name), equilibrium(spin_system(name))
    third, quarter = sympy.pi / 3, sympy.pi / 4
    state = precess(rotate(state, third, quarter), sympy.Symbol("TE1", positive=True))
    state = rotate(state, 2 * third, -quarter, ["X"])
    state = rotate(precess(state, sympy.Symbol("TM", positive=True)), quarter, 0)
    matrix = as_matrix(dense, state)
    steps = [
        ("pulse", np.pi / 3, np.pi / 4),
        ("wait", VALUES["TE1"]),
        ("pulse", 2 * np.pi / 3, -np.pi / 4, "X"),
        ("wait", VALUES["TM"]),
        ("pulse", np.pi / 4, 0.0),
    ]
    assert np.abs(matrix - dense.play(steps)).max() < 1e-10
    assert abs(np.trace(matrix)) < 1e-12
    assert np.abs(matrix - matrix.conj().T).max() < 1e-12
    assert np.trace(matrix @ matrix).real == pytest.approx(
        np.trace(dense.total[2] @ dense.total[2]).real, 1e-12
    )


def test_orders_add_up_to_the_whole():
    state = rotate(precess(rotate(equilibrium(spin_system("A2X")), sympy.pi / 2, 0), sympy.Symbol("t")), 1, 0)
    parts = [select_order(state, order) for order in range(-3, 4)]
    assert sum(len(part.terms) for part in parts) == len(state.terms)
    assert all(part.terms for part in parts)


def test_steam_is_the_sum_of_what_passes():
    system = spin_system("A2X")
    both = closed_forms.steam(system)
    parts = [closed_forms.steam(system, through=name) for name in ("longitudinal", "zero-quantum")]
    rest = subtract(subtract(both, parts[0]), parts[1])
    assert not rest.terms
    assert all(part.terms for part in parts)


def test_the_first_steps_are_those_of_the_textbook():
    state = rotate(equilibrium(spin_system("AX")), sympy.pi / 2, 0)
    assert cartesian(state) == sympy.sympify("-A_y - X_y")
    t, J = sympy.Symbol("t", positive=True), sympy.Symbol("J", real=True)
    state = precess(rotate(equilibrium(spin_system("AX")), sympy.pi / 2, sympy.pi / 2), t)
    found = cartesian(state)
    on_resonance = found.subs({s: 0 for s in found.free_symbols if s.name.startswith("nu_")})
    a_x, a_y, a_z, x_x, x_y, x_z = sympy.symbols("A_x A_y A_z X_x X_y X_z")
    expected = (a_x + x_x) * sympy.cos(sympy.pi * J * t) + 2 * (a_y * x_z + a_z * x_y) * sympy.sin(
        sympy.pi * J * t
    )
    assert sympy.simplify(on_resonance - expected) == 0


def test_closed_forms_of_sums_of_waves():
    x, y = sympy.symbols("x y", real=True)
    cube = cosine(x) * cosine(x) * cosine(x)
    assert closed_form(cube) == sympy.cos(x) ** 3
    assert closed_form(cosine(x) * cosine(y) + sine(x) * sine(y) * constant(-1)) == sympy.cos(x + y)
    assert closed_form(cosine(x) * cosine(x) + sine(x) * sine(x)) == 1
    assert closed_form(Waves({})) == 0
    odd = wave(2 * x) * constant(3) + wave(-y) * constant(sympy.sqrt(2)) + cosine(x + y)
    at = {x: 0.37, y: -1.21}
    expected = sum(complex(a) * np.exp(1j * float(p.subs(at))) for p, a in odd.amplitudes.items())
    assert complex(closed_form(odd).subs(at)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["A", "", "AA", "A0X", "ax", "A2-X", "AXA"])
def test_a_wrong_name_is_an_error(name):
    with pytest.raises(InputError, match="spin system"):
        spin_system(name)


def test_wrong_input_is_an_error():
    system = spin_system("AX")
    with pytest.raises(InputError, match="turns M"):
        rotate(equilibrium(system), sympy.pi, 0, ["M"])
    with pytest.raises(InputError, match="nothing for TE1, TE2"):
        lines(multiplets(closed_forms.press(system)), {"J": 7.0, "nu_A": 0.0, "nu_X": 9.0})
    with pytest.raises(InputError, match="subtract"):
        subtract(equilibrium(system), equilibrium(spin_system("A2X")))


def test_three_groups_have_a_coupling_for_each_pair():
    system = spin_system("AMX")
    found = multiplets(closed_forms.press(system))["A"].amplitudes[(1, 1)]
    assert {s.name for s in found.free_symbols} == {"J_AM", "J_AX", "TE1", "TE2"}
    values = VALUES | {"nu_M": 40.0, "J_AM": 11.0, "J_AX": -3.0, "J_MX": 5.0}
    angles = [np.pi * values[j] * (values["TE1"] + values["TE2"]) for j in ("J_AM", "J_AX")]
    numbers = {s: values[s.name] for s in found.free_symbols}
    assert complex(found.subs(numbers)) == pytest.approx(-np.sin(angles[0]) * np.sin(angles[1]), abs=1e-12)


def blocks():
    """The formulas of the page: (sequence, system, options, {label: expression})."""
    found = []
    for text in re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        head, *rows = text.strip().splitlines()
        sequence, name, *options = head.split()
        found.append((sequence, name, dict(o.split("=") for o in options), dict(r.split(": ") for r in rows)))
    return found


def number(text):
    symbols = {name: sympy.Symbol(name) for name in VALUES}
    return complex(sympy.sympify(text, locals=symbols).subs(VALUES))


@pytest.mark.parametrize("block", blocks(), ids=lambda block: " ".join([*block[:2], *block[2].values()]))
def test_the_page_says_what_the_code_computes(block):
    sequence, name, options, rows = block
    state = getattr(closed_forms, sequence)(spin_system(name), **options)
    computed = dict(row.split(": ") for row in formulas(multiplets(state)).splitlines())
    complete = options.get("through") != "zero-quantum" or name == "AX"
    assert set(rows) == set(computed) if complete else set(rows) <= set(computed)
    for label, text in rows.items():
        assert number(text) == pytest.approx(number(computed[label]), abs=1e-12), label


def test_the_page_has_all_sequences_and_systems():
    shown = {(sequence, name) for sequence, name, _, _ in blocks()}
    for sequence, name in [
        (s, n) for s in ("press", "steam", "mega_press_difference", "semi_laser") for n in SYSTEMS
    ]:
        assert (sequence, name) in shown
    assert ("mega_press", "AX") in shown


def test_the_code_of_the_page_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(code, "page", "exec"), {})
    assert "X antiphase to 3 A" in capsys.readouterr().out
