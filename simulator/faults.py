"""What a scan suffers from: the settings of the virtual scanner, checked, with named sets as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pulsespec.errors import InputError
from pulsespec.simulator.settings_table import check_settings, settings_of, shipped_sets

Kind = Literal["loss", "phase", "lipid", "broadening"]
"""What motion does to a shot."""
KINDS: tuple[Kind, ...] = ("loss", "phase", "lipid", "broadening")
SOURCES = (
    "coils", "noise", "walk", "frequency", "phase", "corruption", "residual-water", "lipid", "echo",
)  # fmt: skip
"""What has a seed of its own, so that one fault can be switched on without changing the draws of another."""

Least0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Any_ = Annotated[float, Field(allow_inf_nan=False)]
DEFAULT = "plain"
"""The set of all defaults of `Faults`, for `load_faults`."""


@dataclass(frozen=True)
class Faults:
    """What a scan suffers from; every number is part of the truth in the header."""

    coils: Annotated[int, Field(ge=1, le=256)] = 4
    least_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Sensitivities are spread evenly from this to 1 in magnitude and over the circle in phase."""
    dead_coils: Annotated[int, Field(ge=0)] = 0
    """Coils, the last ones, that give noise alone."""
    noise_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Correlation of the noise of neighbouring coils; it falls with the distance as a power."""
    noise_spread: Least0 = 0.0
    """Standard deviation over coils of the logarithm of the noise's standard deviation."""
    snr: Annotated[float, Field(gt=0)] = 60.0
    """Height of the reference peak (NAA in the brain) over the standard deviation of the noise in the real
    spectrum, coils combined optimally (doi:10.1002/nbm.4347); infinite for no noise."""
    snr_of: Literal["mean", "shot"] = "mean"
    """Whether `snr` is that of the mean of all shots of a condition, or of a single shot."""
    linewidth_hz: Least0 = 4.0
    """Lorentzian full width at half maximum."""
    gauss_hz: Least0 = 3.0
    """Gaussian full width at half maximum."""
    macromolecules: Least0 = 1.0
    """Factor of the macromolecules and lipids of the phantom."""
    offset_hz: Any_ = 0.0
    """Error of the scanner's frequency adjustment; positive moves all lines downfield."""
    drift_hz: Any_ = 3.0
    """Linear change of frequency from the first to the last shot."""
    walk_hz: Least0 = 0.0
    """Standard deviation of a random walk of frequency at the last shot."""
    frequency_jitter_hz: Least0 = 0.0
    """Standard deviation of the frequency from shot to shot, as breathing gives it."""
    phase_drift_deg: Any_ = 0.0
    """Linear change of phase from the first to the last shot."""
    phase_jitter_deg: Least0 = 5.0
    """Standard deviation of the phase of a shot."""
    corrupted: Share = 0.0
    """Share of the metabolite shots that motion spoils."""
    corrupted_kinds: Annotated[tuple[Kind, ...], Field(min_length=1, strict=False)] = (
        "loss",
        "phase",
        "lipid",
    )
    """What motion does, in turn from one spoiled shot to the next."""
    loss: Share = 0.5
    """Least share of its signal that a shot of kind "loss" loses; the most is all of it."""
    phase_jump_deg: Annotated[float, Field(ge=0, le=180)] = 90.0
    """Least phase by which a shot of kind "phase" is turned, in either sense; the most is 180 degrees."""
    lipid_burst: Least0 = 1.0
    """Least height of lipid over the reference peak in a shot of kind "lipid"; the most is twice that."""
    broadening_hz: Least0 = 8.0
    """Least Lorentzian width that a shot of kind "broadening" gains; the most is twice that."""
    residual_water: Least0 = 5e-4
    """Share of water that suppression leaves."""
    residual_water_spread: Least0 = 0.0
    """Standard deviation from shot to shot of the amplitude of residual water, as a share of it."""
    residual_water_phase_deg: Least0 = 0.0
    """Standard deviation of the phase of residual water from shot to shot."""
    residual_water_lines: Annotated[int, Field(ge=1, le=32)] = 1
    """Lines of which residual water consists: 1 is water's own, more differ in place, width and phase."""
    lipid: Least0 = 0.0
    """Height of lipid from outside the voxel over the reference peak, in every shot, of one phase."""
    elsewhere: Least0 = 0.0
    """How differently coils see what comes from outside the voxel, lipid and echo: the size of what is added to
    their sensitivities, over these. It vanishes in the optimal combination, where heights stay as they are."""
    eddy_rad: Any_ = 0.4
    """Phase that decaying eddy currents add over the readout."""
    eddy_time_s: Above0 = 0.05
    """Time constant of the eddy currents."""
    eddy_fast_rad: Any_ = 0.0
    """Phase that a second, faster component adds."""
    eddy_fast_time_s: Above0 = 0.005
    """Its time constant."""
    eddy_metabolite: Any_ = 1.0
    """Share of that phase which metabolite shots have: 1 is as in the water reference."""
    echo: Least0 = 0.0
    """Height of a spurious echo in the magnitude spectrum over the reference peak; metabolite shots only."""
    echo_time_s: Least0 = 0.1
    """Time after the first sample at which it refocuses."""
    echo_width_s: Above0 = 0.01
    """Standard deviation of its Gaussian envelope."""
    echo_hz: Any_ = 100.0
    """Its frequency from the reference (4.65 ppm) at its centre, positive downfield."""
    echo_phase_deg: Least0 = 0.0
    """Standard deviation of its phase from shot to shot: 0 adds coherently as the metabolites do."""
    clip_metabolite: Annotated[float, Field(gt=0, le=1)] | None = None
    """Full scale of the ADC in metabolite shots, as a share of the largest magnitude of any coil without noise."""
    clip_water: Annotated[float, Field(gt=0, le=1)] | None = None
    """The same in water references."""
    spoiled_points: Annotated[int, Field(ge=0, le=64)] = 0
    """First samples that the receiver's filter spoils."""
    spoiled_gain: Share = 0.5
    """What it leaves of the first sample; the rest lies on a line from that to the first whole one."""
    spoiled_phase_deg: Any_ = 0.0
    """Phase by which it turns the first sample."""
    seeds: Mapping[Annotated[str, Field()], Annotated[int, Field(ge=0)]] = field(default_factory=dict)
    """Seeds in place of that of the scan, by what has one: a name of `SOURCES`."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(Faults, "faults", {one.name: getattr(self, one.name) for one in fields(self)})
        if self.dead_coils >= self.coils:
            raise InputError(f"faults: dead_coils {self.dead_coils}: expected fewer than coils, {self.coils}")
        strange = [name for name in self.seeds if name not in SOURCES]
        if strange:
            raise InputError(f"faults: seeds.{strange[0]}: expected one of {', '.join(SOURCES)}")


NONE: dict[str, float] = {
    "snr": float("inf"), "linewidth_hz": 0.0, "gauss_hz": 0.0, "drift_hz": 0.0, "phase_jitter_deg": 0.0,
    "residual_water": 0.0, "eddy_rad": 0.0,
}  # fmt: skip


def no_faults(**changes: Any) -> Faults:
    """Return a scan without noise, width, water or any other fault, but for what is named."""
    return Faults(**{**NONE, **changes})


def list_faults() -> list[str]:
    """Return the names of the shipped sets."""
    return list(shipped_sets("faults.toml"))


def load_faults(name_or_path: str | Path, **changes: Any) -> Faults:
    """Return the faults of a shipped set or of a TOML file, with single values changed.

    A file has keys of `Faults`; what it leaves out is as in the shipped set that its key `base` names, else as
    in `Faults()`. Changes that are `None` do not count.

    Raises
    ------
    InputError
        There is no such set or file, it is not TOML, or a key or value is wrong.

    """
    values = dict(settings_of(name_or_path, "faults.toml", "faults"))
    values.update({key: value for key, value in changes.items() if value is not None})
    check_settings(Faults, str(name_or_path), values)
    if "corrupted_kinds" in values:
        values["corrupted_kinds"] = tuple(values["corrupted_kinds"])
    return Faults(**values)


def as_json(faults: Faults) -> dict[str, Any]:
    """Return faults as JSON has them: lists for tuples, null for an infinite SNR."""
    values = asdict(faults) | {"seeds": dict(faults.seeds), "corrupted_kinds": list(faults.corrupted_kinds)}
    return values | {"snr": None if faults.snr == float("inf") else faults.snr}


def from_json(values: Mapping[str, Any]) -> Faults:
    """Return what `as_json` made."""
    snr = values["snr"]
    kinds = tuple(values["corrupted_kinds"])
    return Faults(**{**values, "snr": float("inf") if snr is None else snr, "corrupted_kinds": kinds})
