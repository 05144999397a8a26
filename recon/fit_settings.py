"""How a spectrum is fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pulsespec.errors import InputError
from pulsespec.simulator.broad import ratio_priors

RatioPrior = tuple[str, str, float, float]
"""A soft constraint: component, references joined by "+", ratio to their sum, standard deviation of the ratio."""

SUMS: Mapping[str, tuple[str, ...]] = {
    "tNAA": ("NAA", "NAAG"),
    "tCr": ("Cr", "PCr"),
    "tCho": ("GPC", "PCh", "PCho", "Cho"),
    "Glx": ("Glu", "Gln"),
}
"""Sums that are always reported where one of their parts was fitted."""


@dataclass(frozen=True)
class FitSettings:
    """How a spectrum is fitted."""

    ppm_range: tuple[float, float] = (0.2, 4.0)
    """Fitted range of chemical shift, low to high; above 4 ppm water and its suppression distort."""
    exclude_ppm: tuple[tuple[float, float], ...] = ()
    """Ranges inside `ppm_range` that are left out."""
    names: tuple[str, ...] | None = None
    """Components to fit; by default all of the basis."""
    stiffness: float | None = None
    """Effective dimension of the baseline per ppm; chosen from the data where `None`."""
    shift_sd_ppm: float = 0.004
    """Prior standard deviation of a component's own shift (LCModel's default, Provencher 1993)."""
    lorentz_sd_hz: float = 5.0
    """Prior standard deviation of the Lorentzian width that metabolites share beyond that of T2: fields that vary over
    the voxel make lines Gaussian rather. Three times as much where the T2 of the basis is not known."""
    width_sd_hz: float = 0.13
    """Prior standard deviation of a metabolite's own Lorentzian width (LCModel's default of 0.4 / s, recalled)."""
    t2_relative_sd: float = 0.15
    """By how much T2 is unlike the table's, relative: grey and white matter differ by 6 to 24 % from their mean in the
    tables of tissues, and so do studies. It counts in the covariance; a line as free as that makes inositol scatter
    between subjects (`benchmarks/philips_press35.py`)."""
    multiplet_sd_ppm: float = 0.0012
    """Standard deviation of a multiplet's shift against the rest of its molecule, which has no parameter but counts in
    the covariance: shifts change by up to 1e-3 ppm a kelvin (Wermter et al. 2017, doi:10.1007/s10334-017-0642-z,
    recalled), and tables of couplings and shifts give three decimals."""
    t2_widths: bool = True
    """Whether lines of metabolites differ in width as T2 in brain does, where the basis has no relaxation: turn it off
    for phantoms, or simulate the basis with the relaxation of the sample."""
    broad_width_sd_hz: float = 3.0
    """Prior standard deviation of the width added to macromolecules and lipids."""
    lineshape_sd: float = 0.3
    """Prior standard deviation of each coefficient of the lineshape; 0 for a Voigt line."""
    line_sd: float = 0.04
    """What lines that are unlike the model's cost all amplitudes, relative: so much is needed for the intervals of
    simulated spectra to hold their truth at high SNR (`benchmarks/calibration.py`)."""
    phase1_sd_deg_per_ppm: float = 1.0
    """Prior standard deviation of the first-order phase."""
    shorten: bool = True
    """Whether the end of the FID, where its signal has gone, is left out: less work, and next to nothing is lost."""
    largest_shift_ppm: float = 0.3
    """Widest reference shift that is looked for."""
    ratio_priors: tuple[RatioPrior, ...] = field(default_factory=ratio_priors)
    """Soft constraints on macromolecules and lipids."""
    signed: tuple[str, ...] = ()
    """Components whose amplitude may be negative: macromolecules and lipids behind an inversion that leaves them
    upright while metabolites are upside down, or the other way round."""
    metabolite_priors: bool = True
    """Whether weakly determined metabolites are drawn towards what is expected in brain: see `priors`."""
    without_prior: tuple[str, ...] = ()
    """Metabolites that are not: see `priors.IN_LESIONS`."""

    def refuse_signed(self, what: str) -> None:
        """Raise `InputError` where components may be negative in what cannot have that."""
        if self.signed:
            raise InputError(f"signed: {', '.join(self.signed)} cannot be negative in {what}")

    def __post_init__(self) -> None:
        """Check the ranges."""
        low, high = self.ppm_range
        if not low < high:
            raise InputError(f"ppm_range: got {self.ppm_range}, expected low before high")
        for cut in self.exclude_ppm:
            if not cut[0] < cut[1]:
                raise InputError(f"exclude_ppm: got {cut}, expected low before high")

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Return what is fitted of the range, in order."""
        kept = [self.ppm_range]
        for low, high in sorted(self.exclude_ppm):
            last_low, last_high = kept.pop()
            kept += [
                (a, b)
                for a, b in ((last_low, min(low, last_high)), (max(high, last_low), last_high))
                if a < b
            ]
            if not kept:
                raise InputError(f"exclude_ppm: {self.exclude_ppm} leaves nothing of {self.ppm_range}")
        return kept
