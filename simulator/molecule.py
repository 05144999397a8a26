"""What the simulator knows of a molecule: groups of coupled protons, and where each number comes from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Where numbers come from, and how they came here."""

    key: str
    """Name in the table of sources; empty where a user's table gives a text only."""
    text: str
    """Citation."""
    doi: str = ""
    doi_verified: bool = False
    """The DOI was seen in a public document, not recalled."""
    read: bool = False
    """The numbers were read where they were published; otherwise they are second-hand."""
    through: str = ""
    """Where the numbers were seen."""
    temperature_c: float | None = None
    """Temperature of the measurement in degrees Celsius."""
    ph: float | None = None


@dataclass(frozen=True)
class Partner:
    """A nucleus that no pulse touches: its m is conserved and only moves the lines of the protons."""

    nucleus: str
    spin: float
    """Spin quantum number: 0.5 for 31P, 1.0 for 14N."""
    j_hz: Real
    """Coupling to each proton of the system; shape (n,)."""


@dataclass(frozen=True)
class SpinSystem:
    """Protons that belong together, possibly several equal copies of them."""

    name: str
    shifts_ppm: Real
    """Chemical shifts; shape (n,)."""
    j_hz: Real
    """Couplings, symmetric with a zero diagonal; shape (n, n)."""
    scale: float = 1.0
    """Number of equal copies in the molecule, or the share of an anomer."""
    partners: tuple[Partner, ...] = ()
    shifts_source: Source = Source("", "")
    couplings_source: Source = Source("", "")
    """Source of the couplings, among protons and to partners; that of the shifts unless another is named."""


@dataclass(frozen=True)
class Metabolite:
    """A molecule as the spectrometer sees it."""

    name: str
    full_name: str
    systems: tuple[SpinSystem, ...]
    source: str
    """Citations of all numbers in one line."""
    notes: str = ""
    """What public tables say differently, and why these numbers are kept."""
    left_out: tuple[str, ...] = ()
    """Protons of the molecule that are not simulated, with their shifts where known."""
    ch_protons: int | None = None
    """Protons on carbon in one molecule; `None` where a user's table does not say."""
    nh_protons: int = 0
    """Exchanging protons that are simulated."""
    sources: tuple[Source, ...] = ()
    """Each source once."""

    @property
    def protons(self) -> float:
        """Number of protons that give signal."""
        return float(sum(system.scale * system.shifts_ppm.size for system in self.systems))
