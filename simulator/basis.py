"""A basis set as transition lines: frequencies and complex amplitudes, rendered on demand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM


@dataclass(frozen=True)
class Lines:
    """A spectrum as a sum of lines, at the first ADC sample, in the Pulseq sense (downfield positive).

    s(t) = sum_j a_j exp(i 2 pi f_j t - pi lorentz_hz_j t - (pi gauss_hz_j t)^2 / (4 ln 2)).
    """

    frequency_hz: NDArray[np.float64]
    """Offset from the reference in Hz, downfield positive; shape (n_lines,)."""
    amplitude: NDArray[np.complex128]
    """Complex amplitude; one fully excited proton in the nominal voxel sums to 1; shape (n_lines,)."""
    lorentz_hz: NDArray[np.float64] | None = None
    """Intrinsic Lorentzian full width at half maximum of each line; `None` is zero; shape (n_lines,)."""
    gauss_hz: NDArray[np.float64] | None = None
    """Intrinsic Gaussian full width at half maximum of each line; `None` is zero; shape (n_lines,)."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What a sequence makes of each metabolite: transition lines and where they came from."""

    lines: Mapping[str, Lines]
    """Lines of each metabolite (and macromolecule or lipid component), by name."""
    f0_hz: float
    """Frequency in Hz at `reference_ppm`, for which the basis was computed."""
    nucleus: str
    te_s: float | None
    tr_s: float | None = None
    reference_ppm: float = RECEIVER_PPM
    water: Lines | None = None
    """Unsuppressed water (two protons) through the same sequence: the absolute reference."""
    broad: tuple[str, ...] = ()
    """Names in `lines` that are macromolecules or lipids."""
    samples: int = 2048
    """Points of the readout in the sequence."""
    dwell_s: float = 2.5e-4
    """Dwell time of the readout in the sequence, in s."""
    sequence: str = ""
    """Name of the sequence."""
    sequence_hash: str = ""
    """SHA-256 of the bytes of the `.seq` file."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts: program, version, tolerance, convergence statement, pathway weights, sources."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all metabolites and broad components."""
        return tuple(self.lines)
