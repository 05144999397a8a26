"""From raw FIDs to one clean spectrum and its water reference: the steps, in order."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import pulsespec
from pulsespec.errors import DataError, InputError
from pulsespec.files import now
from pulsespec.recon.align import METHODS as ALIGN_METHODS
from pulsespec.recon.align import align
from pulsespec.recon.apodisation import apodise, truncate, zero_fill
from pulsespec.recon.averaging import METHODS as AVERAGE_METHODS
from pulsespec.recon.averaging import average
from pulsespec.recon.coils import METHODS as COIL_METHODS
from pulsespec.recon.coils import combination, combine_coils
from pulsespec.recon.eddy import correct_eddy_currents
from pulsespec.recon.edit_order import with_conditions
from pulsespec.recon.edited import align_conditions, one_water, phased
from pulsespec.recon.first_points import repair_first_points, spoiled_points
from pulsespec.recon.noise import coil_noise
from pulsespec.recon.outliers import find_outliers
from pulsespec.recon.spikes import remove_spikes
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.recon.water_removal import remove_lipid, remove_water


@dataclass(frozen=True)
class ReconSettings:
    """Which steps are taken, and how."""

    whitening: bool = True
    """Whiten coils by the noise scan, or by the tails of the FIDs where there is none."""
    coil_combination: str = "gls"
    """How coils are combined: one of `coils.METHODS`."""
    first_point_repair: bool = True
    """Predict first samples that the receiver spoiled, where the water reference shows it."""
    spike_removal: bool = True
    """Repair single samples that stand out of the noise outside the band of protons."""
    eddy_current_correction: bool = True
    """Use the phase of the water reference, where there is one that fits."""
    alignment: bool = True
    """Align shots in frequency and phase."""
    alignment_method: str = "auto"
    """How shots are aligned: one of `align.METHODS`."""
    outlier_rejection: bool = True
    """Leave out shots that are unlike the rest."""
    averaging: str = "auto"
    """How shots are weighted: one of `averaging.METHODS`."""
    water_removal: bool = True
    """Subtract residual water."""
    water_half_width_ppm: float = 0.4
    """Half the width of the window about 4.65 ppm in which signal counts as water."""
    lipid_removal: bool = False
    """Subtract lipid signal between 0.5 and 1.75 ppm, macromolecules and lactate with it."""
    phasing: bool = True
    """Turn the spectrum so that its singlets stand upright (zero order)."""
    truncation_points: int | None = None
    """Keep this many samples of the averaged FID."""
    lorentz_hz: float = 0.0
    """Broaden lines by this full width at half maximum, Lorentzian."""
    gauss_hz: float = 0.0
    """Broaden lines by this full width at half maximum, Gaussian."""
    zero_filling_points: int | None = None
    """Fill the averaged FID with zeros to this many samples."""

    def __post_init__(self) -> None:
        """Check that the methods are known, before anything is read."""
        for name, known in (
            ("coil_combination", COIL_METHODS),
            ("alignment_method", ALIGN_METHODS),
            ("averaging", AVERAGE_METHODS),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}")


Step = Callable[[Scan, ReconSettings], Scan]


def recon(scan: Scan, settings: ReconSettings | None = None) -> Scan:
    """Process a scan to a single metabolite FID and a single water FID, each with dims ("t",).

    Edited data keep their conditions, dims ("edit", "t"), in one frame; `edited.combined` makes the differences.

    A scan that is a water reference alone gives its spectrum, water not removed.

    Raises
    ------
    DataError
        The scan is empty, has data that are not finite or zero, or dimensions that single-voxel
        processing does not know.

    """
    settings = settings or ReconSettings()
    if scan.metabolite is None and scan.water is None:
        raise DataError("scan: has neither metabolite data nor a water reference")
    for data in (scan.metabolite, scan.water, scan.coil_reference, scan.eddy_reference):
        if data is not None:
            check(data)
    for _, step in STEPS:
        scan = step(scan, settings)
    return Scan(_stamped(scan.metabolite), _stamped(scan.water))


def check(data: Transients) -> None:
    """Refuse data that are empty, not finite, or not of a single voxel (`DataError`)."""
    name = data.source or "data"
    something = False
    for index in np.ndindex(data.data.shape[:-1]):
        if not np.all(np.isfinite(data.data[index])):
            raise DataError(f"{name}: has values that are not finite numbers")
        something = something or bool(np.any(data.data[index]))
    if not something:
        raise DataError(f"{name}: all samples are zero")
    extra = [dim for dim in data.dims if dim not in ("edit", "average", "coil", "t")]
    if extra:
        raise DataError(f"{name}: has dimensions {extra}, expected a single voxel")


def _coils(scan: Scan, settings: ReconSettings) -> Scan:
    """Combine the coils of all data of the scan with the weights of one reference."""
    parts = (scan.metabolite, scan.coil_reference, scan.eddy_reference, scan.water)
    leading = next((part for part in parts if part is not None and "coil" in part.dims), None)
    if leading is None:
        return scan
    n_coils = leading.size("coil")
    noise = coil_noise(leading) if settings.whitening else None
    source = next(
        part
        for part in (scan.coil_reference, scan.water, leading)
        if part is not None and part.size("coil") == n_coils
    )
    common = combination(source, noise, settings.coil_combination)
    whitened = noise if settings.coil_combination == "gls" else None

    def combined(part: Transients | None) -> Transients | None:
        if part is None or "coil" not in part.dims:
            return part
        own = part.size("coil") != n_coils
        used = combination(part, None, settings.coil_combination) if own else common
        return combine_coils(
            part,
            used,
            reference="" if own or source is part else source.source or "water",
            noise=None if own else whitened,
        )

    return Scan(combined(scan.metabolite), combined(scan.water), None, combined(scan.eddy_reference))


def _average_water(scan: Scan, settings: ReconSettings) -> Scan:
    """Make one FID of each water reference."""

    def single(part: Transients | None) -> Transients | None:
        if part is None:
            return None
        part = one_water(part)
        return average(align(part, "plain") if settings.alignment else part, "mean")

    return replace(scan, water=single(scan.water), eddy_reference=single(scan.eddy_reference))


def _first_points(scan: Scan, settings: ReconSettings) -> Scan:
    reference = scan.eddy_reference or scan.water
    if not settings.first_point_repair or reference is None:
        return scan
    points = spoiled_points(reference)

    def repaired(part: Transients | None) -> Transients | None:
        return None if part is None else repair_first_points(part, points)

    return Scan(repaired(scan.metabolite), repaired(scan.water), None, repaired(scan.eddy_reference))


def _eddy(scan: Scan, settings: ReconSettings) -> Scan:
    reference = scan.eddy_reference or scan.water
    if not settings.eddy_current_correction or reference is None:
        return scan

    def corrected(part: Transients | None, by: Transients | None) -> Transients | None:
        if part is None or by is None:
            return part
        try:
            return correct_eddy_currents(part, by)
        except DataError as error:
            return part.with_data(part.data, Record("Eddy current correction", f"not done: {error}"))

    return Scan(corrected(scan.metabolite, reference), corrected(scan.water, scan.water))


def _metabolite(step: Callable[[Transients, ReconSettings], Transients]) -> Step:
    """Return the step that does something to the metabolites and leaves water as it is."""

    def done(scan: Scan, settings: ReconSettings) -> Scan:
        if scan.metabolite is None:
            return scan
        return replace(scan, metabolite=step(scan.metabolite, settings))

    return done


def _shaped(data: Transients, settings: ReconSettings) -> Transients:
    if settings.truncation_points is not None:
        data = truncate(data, settings.truncation_points)
    if settings.lorentz_hz or settings.gauss_hz:
        data = apodise(data, settings.lorentz_hz, settings.gauss_hz)
    if settings.zero_filling_points is not None:
        data = zero_fill(data, settings.zero_filling_points)
    return data


STEPS: tuple[tuple[str, Step], ...] = (
    ("coil combination", _coils),
    ("water averaging", _average_water),
    ("first point repair", _first_points),
    ("spike removal", _metabolite(lambda data, s: remove_spikes(data) if s.spike_removal else data)),
    ("eddy current correction", _eddy),
    ("editing conditions", _metabolite(lambda data, _: with_conditions(data))),
    ("alignment", _metabolite(lambda data, s: align(data, s.alignment_method) if s.alignment else data)),
    ("outlier rejection", _metabolite(lambda data, s: find_outliers(data) if s.outlier_rejection else data)),
    ("averaging", _metabolite(lambda data, s: average(data, s.averaging))),
    (
        "water removal",
        _metabolite(lambda data, s: remove_water(data, s.water_half_width_ppm) if s.water_removal else data),
    ),
    ("lipid removal", _metabolite(lambda data, s: remove_lipid(data) if s.lipid_removal else data)),
    ("sub-spectra", _metabolite(lambda data, s: align_conditions(data) if s.alignment else data)),
    ("phasing", _metabolite(lambda data, s: phased(data) if s.phasing else data)),
    ("shaping", _metabolite(_shaped)),
)
"""All steps in order, each a name for the reader and a function."""


def _stamped(data: Transients | None) -> Transients | None:
    if data is None:
        return None
    when = now().isoformat(timespec="seconds")
    version = pulsespec.__version__
    records = tuple(replace(r, version=r.version or version, time=r.time or when) for r in data.records)
    return replace(data, records=records)
