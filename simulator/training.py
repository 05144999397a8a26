"""Training sets: many expected spectra with drawn parameters and the truth beside each of them.

A spectrum depends on the seed and its own number alone, so a set is the same to the bit whatever the size of
its blocks, and any spectrum of it can be made again without the others.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulsespec.conventions import field_from_larmor
from pulsespec.errors import InputError
from pulsespec.executor import iter_blocks
from pulsespec.simulator.expect import Accidents, Quality, draw_accidents, expected_fid
from pulsespec.simulator.scene import Contents, Scene

Real = NDArray[np.float64]

SCAN_COLUMNS = ("lorentz_hz", "gauss_hz", "snr", "residual_water", "baseline", "phase_deg", "shift_hz")
"""What is drawn once a spectrum, in the order of the truth; fields of `Quality`."""
BLOCK = 256
"""Spectra that are rendered at a time."""


@dataclass(frozen=True)
class Distributions:
    """What parameters are drawn from; a range whose ends are equal fixes its parameter.

    Concentrations are normal with the mean and standard deviation of the tissue, cut at zero.
    """

    lorentz_hz: tuple[float, float] = (0.0, 2.0)
    """Uniform."""
    gauss_hz: tuple[float, float] | None = None
    """Uniform; where `None`, normal with the tissue's mean and standard deviation at this field, cut at zero."""
    snr: tuple[float, float] = (10.0, 100.0)
    """Log-uniform."""
    residual_water: tuple[float, float] = (1e-5, 1e-3)
    """Share of the water, log-uniform; uniform where the lower end is zero."""
    baseline: tuple[float, float] = (0.0, 0.05)
    """Uniform: standard deviation of the height of a bump over the reference peak."""
    phase_deg: tuple[float, float] = (0.0, 10.0)
    """Normal: mean and standard deviation."""
    shift_ppm: tuple[float, float] = (0.0, 0.02)
    """Normal, of the whole spectrum: mean and standard deviation."""
    own_shift_sd_ppm: float = 0.004
    """Normal about zero, of each component (the prior of the fit, Provencher 1993)."""
    t2_relative_sd: float = 0.1
    """Of each metabolite's T2: the logarithm is normal with this standard deviation."""

    def __post_init__(self) -> None:
        """Check that ranges run upwards from what is possible."""
        for name in ("lorentz_hz", "gauss_hz", "snr", "residual_water", "baseline"):
            span = getattr(self, name)
            if span is not None and not 0 <= span[0] <= span[1] < math.inf:
                raise InputError(f"{name}: got {span}, expected two numbers of at least 0, low to high")
        if self.snr[0] <= 0:
            raise InputError(f"snr: got {self.snr}, expected numbers above 0")
        for name, sd in (("phase_deg", self.phase_deg[1]), ("shift_ppm", self.shift_ppm[1])):
            if not 0 <= sd < math.inf:
                raise InputError(f"{name}: got a standard deviation of {sd}, expected at least 0")
        if not (0 <= self.own_shift_sd_ppm < 1 and 0 <= self.t2_relative_sd < 1):
            raise InputError(
                f"own_shift_sd_ppm {self.own_shift_sd_ppm}, t2_relative_sd {self.t2_relative_sd}: "
                "expected numbers from 0 to below 1"
            )


@dataclass(frozen=True)
class Example:
    """One spectrum of a set and everything that went into it."""

    contents: Contents
    quality: Quality
    accidents: Accidents


@dataclass(frozen=True)
class Block:
    """Neighbouring spectra of a set; the first axis of every array counts them."""

    start: int
    """Number of the first of them."""
    fids: NDArray[np.complex128]
    """NIfTI-MRS sense, in mM of protons; shape (n, samples)."""
    concentrations_mm: Real
    """Shape (n, n_components)."""
    t2_s: Real
    """Shape (n, n_components)."""
    shift_hz: Real
    """Of each component alone, positive downfield; shape (n, n_components)."""
    weights: Real
    """What T1 and T2 leave of each component; shape (n, n_components)."""
    scan: Real
    """Shape (n, len(SCAN_COLUMNS))."""


def draw_example(scene: Scene, distributions: Distributions, seed: int, number: int) -> Example:
    """Draw spectrum `number` of the set with that seed."""
    rng = np.random.default_rng([seed, number])
    n = len(scene.names)
    means = np.array([amount.mm for amount in scene.amounts])
    sds = np.array([amount.sd_mm for amount in scene.amounts])
    concentrations = cut_normal(rng.random(n), means, sds)
    t2_factor = np.exp(distributions.t2_relative_sd * rng.standard_normal(n))
    own_shift = distributions.own_shift_sd_ppm * rng.standard_normal(n) * scene.f0_hz * 1e-6
    contents = Contents(concentrations, scene.t2_s * np.where(scene.decays, t2_factor, 1.0), own_shift)
    return Example(contents, _draw_quality(scene, distributions, rng), draw_accidents(scene, rng))


def _draw_quality(scene: Scene, given: Distributions, rng: np.random.Generator) -> Quality:
    u, z = rng.random(5), rng.standard_normal(2)
    low_hz, high_hz = given.gauss_hz or (0.0, 0.0)
    width = scene.tissue.width(field_from_larmor(scene.f0_hz))
    of_tissue = float(cut_normal(u[1], np.array(width.gauss_hz), np.array(width.sd_hz)))
    return Quality(
        lorentz_hz=_between(u[0], given.lorentz_hz),
        gauss_hz=of_tissue if given.gauss_hz is None else low_hz + u[1] * (high_hz - low_hz),
        snr=_between(u[2], given.snr, logarithmic=True),
        residual_water=_between(u[3], given.residual_water, logarithmic=given.residual_water[0] > 0),
        baseline=_between(u[4], given.baseline),
        phase_deg=float(given.phase_deg[0] + given.phase_deg[1] * z[0]),
        shift_hz=float((given.shift_ppm[0] + given.shift_ppm[1] * z[1]) * scene.f0_hz * 1e-6),
    )


def _between(share: float, span: tuple[float, float], logarithmic: bool = False) -> float:
    low, high = span
    if logarithmic:
        return float(low * (high / low) ** share)
    return float(low + share * (high - low))


def cut_normal(share: float | Real, mean: Real, sd: Real) -> Real:
    """Return the quantile of a normal distribution cut at zero; the mean where the deviation is zero."""
    spread = np.where(sd > 0, sd, 1.0)
    below = ndtr(-mean / spread)
    drawn = mean + spread * ndtri(below + share * (1 - below))
    return np.asarray(np.where(sd > 0, np.maximum(drawn, 0.0), mean))


def render_block(scene: Scene, distributions: Distributions, seed: int, span: tuple[int, int]) -> Block:
    """Render spectra `span[0]` to `span[1] - 1` of a set."""
    start, stop = span
    fids = np.empty((stop - start, scene.samples), dtype=complex)
    drawn = [draw_example(scene, distributions, seed, number) for number in range(start, stop)]
    for row, example in enumerate(drawn):
        fids[row] = expected_fid(scene, example.contents, example.quality, example.accidents)
    return Block(
        start,
        fids,
        np.array([example.contents.concentrations_mm for example in drawn]),
        np.array([example.contents.t2_s for example in drawn]),
        np.array([example.contents.shift_hz for example in drawn]),
        np.array([scene.weights(example.contents.t2_s) for example in drawn]),
        np.array([[getattr(example.quality, key) for key in SCAN_COLUMNS] for example in drawn]),
    )


def training_blocks(
    scene: Scene, distributions: Distributions, count: int, seed: int, *, jobs: int = 1, block: int = BLOCK
) -> Iterator[Block]:
    """Yield a set block by block, in order, holding no more than a few blocks a process at a time."""
    if count < 1 or seed < 0 or block < 1:
        raise InputError(f"count {count}, seed {seed}, block {block}: expected at least 1, 0 and 1")
    spans = [(start, min(start + block, count)) for start in range(0, count, block)]
    one_block = partial(render_block, scene, distributions, seed)
    yield from iter_blocks(one_block, spans, jobs, name=f"blocks of {block} spectra")
