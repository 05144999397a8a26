"""The localisation of any single-shot sequence: pulses, crushers between them, times, phases, conditions.

A sequence's own module says which pulses it plays, which coherence order each leaves, what the crushers
between them are and how far apart the centres lie. What follows from that is here: how short an interval can
be, how long its block is, and that the wanted pathway is refocused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from pulsespec.errors import SequenceError
from pulsespec.protocols import Protocol
from pulsespec.sequences import parts
from pulsespec.sequences.encoding import largest_areas, largest_radius
from pulsespec.sequences.geometry import Frame
from pulsespec.sequences.pulses import Played, ceil_to, on_raster
from pulsespec.sequences.readout import Readout
from pulsespec.sequences.readouts import plan_readout
from pulsespec.sequences.scanner import Scanner

Areas = tuple[float, float, float]
"""Areas of gradient lobes along x, y, z of the voxel; cycles/m."""

_MOMENT_SLACK_PER_M = 1e-6


@dataclass(frozen=True)
class Slot:
    """A place for a pulse: what is played there, the same or another in each editing condition."""

    played: tuple[Played, ...]
    """One for all, or one for each condition and, last, one for water; all of equal timing and gradient."""
    carriers_ppm: tuple[float, ...] = ()
    """Carrier of each; empty for the carrier of the voxel, which for water is another than for metabolites."""

    def select(self, condition: int, water: bool) -> tuple[Played, float | None]:
        """Return what is played, and its carrier in ppm where that is not the voxel's."""
        if len(self.played) == 1:
            return self.played[0], None
        index = -1 if water else condition
        return self.played[index], self.carriers_ppm[index]

    @property
    def first(self) -> Played:
        """What the first condition plays; the timing of all."""
        return self.played[0]


@dataclass(frozen=True)
class Cycle:
    """Phases in rad of one step of a phase cycle."""

    pulses: tuple[float, ...]
    receiver: float
    silent: frozenset[int] = frozenset()
    """Indices of the pulses that this step leaves out, while their gradients stay."""


@dataclass(frozen=True)
class Design:
    """The localisation of a sequence, ready to be played."""

    slots: tuple[Slot, ...]
    orders: tuple[int, ...]
    """Wanted coherence order after each pulse; the receiver sees -1."""
    crushers: tuple[Areas, ...]
    """Lobes after each pulse."""
    gaps_s: tuple[float, ...]
    """Length of the block of those lobes."""
    readout: Readout
    readout_delay_s: float
    """From the end of the last of them to the start of the readout."""
    last_lobe_s: float
    """Length of the lobes after the last pulse, long enough for every phase encode."""
    cycle: tuple[Cycle, ...]
    times_s: Mapping[str, float]
    """Definitions of the file such as TE, TE1, TM."""
    conditions: int = 1

    def __post_init__(self) -> None:
        moment = wanted_moment(self.slots, self.orders, self.crushers)
        if np.any(np.abs(moment) > _MOMENT_SLACK_PER_M):
            raise SequenceError(f"design: the wanted pathway ends with a moment of {moment} cycles/m")


def wanted_moment(
    slots: Sequence[Slot], orders: Sequence[int], crushers: Sequence[Areas]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the sum of order times gradient moment from the first centre to the first sample; (3,)."""
    total = np.zeros(3)
    for k, (slot, order, areas) in enumerate(zip(slots, orders, crushers, strict=True)):
        total += order * np.asarray(areas)
        played = slot.first
        if played.axis is not None:
            before = orders[k - 1] if k else 0
            axis = "xyz".index(played.axis)
            total[axis] += order * played.moment_after_per_m + before * played.moment_before_per_m
    return total


def crush(
    protocol: Protocol,
    slots: Sequence[Slot],
    orders: Sequence[int],
    vectors: Sequence[tuple[float, float, float]],
) -> tuple[Areas, ...]:
    """Return the lobes after each pulse, from a crusher a pulse that follows the excitation.

    `vectors` are in units of the protocol's crusher, along x, y, z. A crusher stands on both sides of its
    pulse: with equal sign where the pulse inverts the wanted coherence, with opposite sign where it lets it
    pass. Crushers between the same two pulses merge. The first lobes also rephase the excitation's slice.
    """
    unit = crusher_unit(protocol)
    areas = np.zeros((len(slots), 3))
    for k, vector in enumerate(vectors):
        areas[k] += vector * unit
        areas[k + 1] += vector * unit * (-1 if orders[k + 1] == orders[k] else 1)
    excitation = slots[0].first
    if excitation.axis is not None:
        areas[0]["xyz".index(excitation.axis)] -= excitation.moment_after_per_m
    return tuple((float(x), float(y), float(z)) for x, y, z in areas)


def crusher_unit(protocol: Protocol) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the area of one crusher along x, y, z in cycles/m."""
    return np.asarray(protocol.crushers.cycles / (np.array(protocol.resolution_mm) * 1e-3))


@dataclass(frozen=True)
class Equation:
    """A condition on the distances between centres: coefficients times distances are a value in s."""

    coefficients: tuple[float, ...]
    value_s: float = 0.0
    key: str = ""
    """Key of the protocol that the value comes from; empty for what must hold in any protocol."""


def plan(
    protocol: Protocol,
    scanner: Scanner,
    frame: Frame,
    slots: tuple[Slot, ...],
    orders: tuple[int, ...],
    crushers: tuple[Areas, ...],
    cycle: tuple[Cycle, ...],
    *,
    equations: Sequence[Equation] = (),
    prefer: Sequence[float] | None = None,
    conditions: int = 1,
    te_s: float | None = None,
) -> Design:
    """Place the pulses of a sequence so that its echo is at TE, and return its design.

    Distances between the centres (the last one to the first sample) are whole rasters, long enough for pulses
    and crushers; order times distance adds up to zero, which is the echo, and their magnitudes to TE.

    Parameters
    ----------
    equations
        What else must hold, such as a mixing time.
    prefer
        Cost of each distance; the cheapest plan is taken. By default the time that is left is spread evenly.
    te_s
        Echo time, by default that of the protocol; 0 for the shortest.

    Raises
    ------
    SequenceError
        TE is off the raster or too short; the message gives the shortest.

    """
    readout = plan_readout(protocol, scanner)
    last_lobe_s = _last_lobe_s(protocol, scanner, frame, crushers[-1], readout)
    spacing = _Spacing(scanner, frame, slots, crushers, readout, last_lobe_s)
    shortest = np.array([spacing.shortest_s(k) for k in range(len(slots))])
    time = np.abs(orders).astype(float)
    refocused = min(orders) < 0 < max(orders)
    echo = [Equation(tuple(float(order) for order in orders))] if refocused else []
    echo += equations
    raster = scanner.block_raster_s
    echo_time = Equation(tuple(time), protocol.te_ms * 1e-3 if te_s is None else te_s, "te_ms")
    for equation in (echo_time, *equations):
        _require_raster(protocol, scanner, equation, 2 if refocused and equation is echo_time else 1)
    wanted = echo if te_s == 0 else [*echo, echo_time]
    distances = _solve(shortest, wanted, raster, tuple(time) if te_s == 0 else prefer)
    if distances is None:
        raise SequenceError(_too_short(protocol, scanner, shortest, wanted))
    gaps, delay = spacing.gaps(distances)
    times = {"TE": tidy(float(time @ distances)), **_named_times(orders, distances)}
    return Design(slots, orders, crushers, gaps, readout, delay, last_lobe_s, cycle, times, conditions)


def _last_lobe_s(
    protocol: Protocol, scanner: Scanner, frame: Frame, crusher: Areas, readout: Readout
) -> float:
    """Return a length in which the last crusher can be played with any phase encode and what the readout needs."""
    encode = largest_areas(protocol)
    scales = {readout.scale(radius) for radius in (0.0, largest_radius(protocol))}
    fixed = [np.add(crusher, scale * np.array(readout.before_per_m)) for scale in scales]
    corners = [one + np.array(signs) * encode for one in fixed for signs in product((-1, 1), repeat=3)]
    return max(parts.shortest_lobe_s(tuple(corner), frame, scanner) for corner in corners)


def _require_raster(protocol: Protocol, scanner: Scanner, equation: Equation, rasters: int) -> None:
    step_s = rasters * scanner.block_raster_s
    if not on_raster(equation.value_s, step_s):
        raise SequenceError(
            f"{protocol.name}: {equation.key} = {getattr(protocol, equation.key):g}: expected a multiple of "
            f"{step_s * 1e3:g} ms, {'twice ' if rasters == 2 else ''}the block raster of {scanner.name}"
        )


def _too_short(
    protocol: Protocol, scanner: Scanner, shortest_s: np.ndarray, equations: Sequence[Equation]
) -> str:
    """Return which value of the protocol stands in the way, and the least one that works."""
    for equation in reversed(equations):
        others = [one for one in equations if one is not equation]
        found = _solve(shortest_s, others, scanner.block_raster_s, equation.coefficients)
        if equation.key and found is not None:
            least_ms = float(np.dot(equation.coefficients, found)) * 1e3
            return (
                f"{protocol.name}: {equation.key} = {getattr(protocol, equation.key):g} is too short for its "
                f"pulses and crushers on {scanner.name}: expected at least {least_ms:.2f}"
            )
    return f"{protocol.name}: its echo times cannot be met together on {scanner.name}"


def _named_times(orders: Sequence[int], distances: Sequence[float]) -> dict[str, float]:
    """Return TM where coherence is stored, TE1 and TE2 where there are two echoes."""
    if 0 in orders[1:]:
        return {"TM": tidy(sum(d for d, order in zip(distances, orders, strict=True) if order == 0))}
    if len(orders) == 3:
        return {"TE1": tidy(2 * distances[0]), "TE2": tidy(2 * distances[2])}
    return {}


def _solve(
    shortest_s: np.ndarray, equations: Sequence[Equation], raster_s: float, prefer: Sequence[float] | None
) -> tuple[float, ...] | None:
    """Return the cheapest distances on the raster, or `None` where there are none."""
    n = shortest_s.size
    least = np.ceil(shortest_s / raster_s - 1e-6)
    matrix = np.array([equation.coefficients for equation in equations]).reshape(-1, n)
    values = np.array([equation.value_s / raster_s for equation in equations])
    constraints = [LinearConstraint(np.pad(matrix, ((0, 0), (0, 1))), values - 1e-3, values + 1e-3)]
    # The last variable is the largest time left over: making it small spreads what is left.
    spread = np.hstack([np.eye(n), -np.ones((n, 1))])
    constraints.append(LinearConstraint(spread, -np.inf, least))
    cost = np.append(np.zeros(n), 1.0) if prefer is None else np.append(np.asarray(prefer, float), 0.0)
    found = milp(
        cost,
        constraints=constraints,
        integrality=np.ones(n + 1),
        bounds=Bounds(np.append(least, 0), np.inf),
    )
    if not found.success:
        return None
    return tuple(tidy(round(d) * raster_s) for d in found.x[:n])


@dataclass(frozen=True)
class _Spacing:
    """How close pulses can be played on a scanner, and the blocks that hold a wanted distance."""

    scanner: Scanner
    frame: Frame
    slots: tuple[Slot, ...]
    crushers: tuple[Areas, ...]
    readout: Readout
    last_lobe_s: float

    def shortest_s(self, k: int) -> float:
        """Return the shortest time from centre `k` to the next one, from the last to the first sample."""
        after = self.slots[k].first.after_s
        if k + 1 < len(self.slots):
            lobe = parts.shortest_lobe_s(self.crushers[k], self.frame, self.scanner)
            return after + lobe + self.slots[k + 1].first.before_s
        return after + self.last_lobe_s + self.wait_s + self.readout.first_s

    @property
    def wait_s(self) -> float:
        """Shortest time from the start of the readout's block to its readout, on the gradients' raster."""
        if self.readout.corners_s is None:
            return self.scanner.adc_dead_time_s
        before_s = max(0.0, self.scanner.adc_dead_time_s - self.readout.lead_s)
        return ceil_to(before_s, max(self.scanner.grad_raster_s, self.scanner.block_raster_s))

    def gaps(self, distances_s: Sequence[float]) -> tuple[tuple[float, ...], float]:
        """Return all blocks between the pulses, and the delay of the readout behind the last of them."""
        inner = [
            tidy(distance - one.first.after_s - other.first.before_s)
            for distance, one, other in zip(distances_s, self.slots, self.slots[1:], strict=False)
        ]
        free_s = distances_s[-1] - self.slots[-1].first.after_s - self.readout.first_s
        raster = self.scanner.block_raster_s
        last = tidy(float(np.floor((free_s - self.wait_s) / raster + 1e-6) * raster))
        return (*inner, last), max(
            tidy(free_s - last), self.wait_s
        ) + 0.0  # never -0, which some readers refuse


def cycled(orders: Sequence[int], steps: Sequence[Sequence[float]]) -> tuple[Cycle, ...]:
    """Return steps of a phase cycle in which the echo of the wanted orders has the receiver's phase.

    `steps` has the phase of each pulse, in quarters of a turn. A pulse of phase p turns an order by d with the
    phase -d p.
    """
    changes = np.diff([0, *orders])
    return tuple(
        Cycle(
            tuple(float(quarter) * np.pi / 2 for quarter in step),
            float(-np.dot(changes, step) % 4) * np.pi / 2,
        )
        for step in steps
    )


def tidy(time_s: float) -> float:
    """Return a time without the last digits that sums of raster times leave."""
    return round(time_s, 10)
