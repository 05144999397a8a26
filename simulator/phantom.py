"""What lies in the voxel of the virtual scanner: a tissue, as that scanner plays it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pulsespec.errors import InputError
from pulsespec.simulator.head_settings import list_heads
from pulsespec.simulator.tissue import BROAD, Tissue, used_sources
from pulsespec.simulator.tissue_library import list_tissues, load_tissue

_BROAD_TE_S, _BROAD_FIELD_T = 0.030, 3.0


@dataclass(frozen=True)
class Phantom:
    """A uniform voxel of tissue."""

    name: str
    concentrations_mm: Mapping[str, float]
    """Metabolites in mM."""
    water_mm: float
    """Water that gives signal, in mM."""
    broad_mm: Mapping[str, float] = field(default_factory=dict)
    """Macromolecules and lipids, in units of their components, as T2 leaves them at a TE of 30 ms."""
    source: str = ""
    snr_ppm: tuple[float, float] | None = None
    """Where the peak lies that SNR is measured by; the largest of the spectrum where `None`."""
    broad_t2_s: float = math.inf
    """T2 of macromolecules and lipids, which carries them to other echo times."""

    def broad_share(self, te_s: float | None) -> float:
        """Return macromolecules and lipids at an echo time over what they are at 30 ms."""
        return 1.0 if te_s is None else math.exp((_BROAD_TE_S - te_s) / self.broad_t2_s)


def list_phantoms() -> list[str]:
    """Return the names of the shipped phantoms: those of the tissues."""
    return list_tissues()


def load_phantom(name: str) -> Phantom:
    """Return the mean of a shipped tissue as a phantom; `InputError` where there is none of that name.

    The virtual scanner knows no relaxation but in the basis, which would leave macromolecules three times too
    high: they have the size here that their T2 at 3 T leaves of them at a TE of 30 ms.
    """
    if name not in list_phantoms():
        raise InputError(
            f"phantom {name!r}: expected one of {', '.join(list_phantoms())}, or for images a head: "
            f"{', '.join(list_heads())}, a .toml file"
        )
    tissue = load_tissue(name)
    sources = "; ".join(source.citation for source in used_sources(tissue).values())
    return Phantom(
        name,
        {key: amount.mm for key, amount in tissue.concentrations.items()},
        tissue.water.mm,
        {key: amount.mm * _kept(tissue) for key, amount in tissue.broad.items()},
        sources,
        tissue.snr_ppm,
        _t2_s(tissue),
    )


def _kept(tissue: Tissue) -> float:
    return math.exp(-_BROAD_TE_S / _t2_s(tissue))


def _t2_s(tissue: Tissue) -> float:
    return tissue.times(BROAD, _BROAD_FIELD_T).t2_s
