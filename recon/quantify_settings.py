"""What is assumed of a voxel to turn amplitudes into concentrations."""

from dataclasses import dataclass

from pulsespec.errors import InputError
from pulsespec.recon.constants import Stated
from pulsespec.recon.segmentation import Source


@dataclass(frozen=True)
class QuantifySettings:
    """Assumptions that turn amplitudes into concentrations."""

    gm: float = 0.5
    """Volume fraction of grey matter in the voxel; without a segmentation half and half is assumed."""
    wm: float = 0.5
    """Volume fraction of white matter."""
    csf: float = 0.0
    """Volume fraction of cerebrospinal fluid, which has no metabolites."""
    relaxation: bool = True
    """Correct for T1 and T2 of water and metabolites."""
    water_mm: float | None = None
    """Concentration of water that gives signal; from tissue fractions where `None`. For phantoms."""
    fraction_sd: float = 0.0
    """Standard deviation of each fraction, which the uncertainty of concentrations then includes."""
    constants: Stated | None = None
    """Constants in place of shipped ones."""
    basis_water: float | None = None
    """Signal at time zero of 1 mM of water in units of a basis that has no water: 2 where one proton gives 1."""
    fractions_from: str = ""
    """Where the fractions come from; empty where nobody said."""
    segmentation: Source | None = None
    """Images that the fractions are to be taken from (`in_the_voxel`)."""
    voxel_mask: bool = False
    """Whether the voxel is written on the grid of the segmentation."""

    def __post_init__(self) -> None:
        """Check that the fractions are those of a voxel, and that numbers are positive."""
        fractions = (self.gm, self.wm, self.csf)
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 0.01 or self.csf >= 1:
            raise InputError(
                f"tissue fractions: got {fractions}, expected shares of gm, wm and csf that sum to 1, csf below 1"
            )
        for name, value in (("water_mm", self.water_mm), ("basis_water", self.basis_water)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name}: got {value}, expected a number above 0")
        if self.voxel_mask and self.segmentation is None:
            raise InputError("voxel_mask: is written on the grid of a segmentation, expected one")
        if not 0 <= self.fraction_sd < 1:
            raise InputError(f"fraction_sd: got {self.fraction_sd}, expected 0 or more, below 1")

    @property
    def assumed(self) -> bool:
        """Whether the fractions are nobody's but this program's."""
        return not self.fractions_from and (self.gm, self.wm, self.csf) == (0.5, 0.5, 0.0)
