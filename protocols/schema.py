"""What a protocol may say: frozen, with units in the keys, and nothing it does not know."""

import functools
import tomllib
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Ppm = Annotated[float, Field(ge=-10, le=20, allow_inf_nan=False)]
Shift = Annotated[float, Field(ge=-500, le=500, allow_inf_nan=False)]
FlipDeg = Annotated[float, Field(gt=0, le=360, allow_inf_nan=False)]


Count = Annotated[int, Field(ge=1, le=1024)]
Component = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Direction = Annotated[tuple[Component, Component, Component], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CarrierPpm(_Section):
    """Where the pulses of each kind of scan are centred, so that the two voxels coincide."""

    metabolite: Ppm = 2.7
    water: Ppm = 4.65


class SelectivePulse(_Section):
    """A slice-selective pulse by its filter; its duration follows from the scanner's B1."""

    time_bandwidth: Annotated[float, Field(gt=1, le=20)]
    """Bandwidth times duration."""
    transition: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Width of a transition band over the bandwidth."""
    passband_ripple: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    stopband_ripple: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Allowed ripples, in the place of the transition, which then is as narrow as they let it be."""
    asymmetric: bool = False
    """Of minimum phase, with its centre near its end, for the shortest echo times; excitations only."""

    @model_validator(mode="after")
    def _width_or_ripples(self) -> Self:
        ripples = (self.passband_ripple is None, self.stopband_ripple is None)
        if ripples not in ((True, True), (False, False)) or (self.transition is None) == ripples[0]:
            raise ValueError("expected either transition, or both passband_ripple and stopband_ripple")
        return self


class ImportedPulse(_Section):
    """A slice-selective pulse from a file: Siemens `.pta`, or amplitude and phase (rad) in two columns."""

    file: Annotated[str, Field(min_length=1)]
    """Path, from where the program is started."""
    duration_ms: Positive


def _sort_of_pulse(value: Any) -> str:
    """Return which of the two sorts of pulse is meant: one with a file is imported."""
    imported = isinstance(value, ImportedPulse) or (isinstance(value, dict) and "file" in value)
    return "imported" if imported else "designed"


SORTS: dict[str, type[BaseModel]] = {"designed": SelectivePulse, "imported": ImportedPulse}
"""Sorts of slice-selective pulses, by the name under which errors are reported."""

SlicePulse = Annotated[
    Annotated[SelectivePulse, Tag("designed")] | Annotated[ImportedPulse, Tag("imported")],
    Discriminator(_sort_of_pulse),
]


class Adiabatic(_Section):
    """The adiabatic full passages of semi-LASER: GOIA-WURST."""

    duration_ms: Positive
    bandwidth_hz: Positive
    """Of the slice; the B1 that it needs follows from it."""
    gradient_factor: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """How far the gradient dips in the middle; 0 is a constant gradient."""


class Pulses(_Section):
    """The slice-selective pulses and how hard the transmitter is driven."""

    excitation: SlicePulse = SelectivePulse(time_bandwidth=8.0, transition=0.45)
    refocusing: SlicePulse = SelectivePulse(time_bandwidth=5.0, transition=0.45)
    refocusing_slab: Annotated[float, Field(ge=1, le=4)] | None = None
    """Thickness of the slab that is refocused over that of the excitation; spin echo only."""
    adiabatic: Adiabatic | None = None
    hard_us: Positive | None = None
    """Length of a block pulse without a gradient, in place of the excitation; pulse-acquire only."""
    max_b1_ut: Positive | None = None
    """Peak B1 that pulses use; by default 98 % of the scanner's, never more than the scanner's."""


class Crushers(_Section):
    """The gradients around the refocusing pulses."""

    cycles: Annotated[float, Field(ge=4, le=200)] = 16.0
    """Dephasing of one crusher over the voxel along each axis."""


SCHEMES = "suppression.toml"
"""The file of the schemes of water suppression."""


@functools.cache
def _schemes() -> dict[str, Any]:
    return tomllib.loads((files("pulsespec.protocols") / SCHEMES).read_text(encoding="utf-8"))


def scheme_values(scheme: str, field_t: float) -> dict[str, Any]:
    """Return the values of a scheme of water suppression at the nominal field nearest to `field_t`."""
    fields = {float(key.replace("_", ".")): value for key, value in _schemes()[scheme].items()}
    return dict(fields[min(fields, key=lambda known: abs(known - field_t))])


class WaterSuppression(_Section):
    """Frequency-selective pulses with spoilers before the excitation: a scheme, or values of one's own."""

    scheme: Literal["vapor", "wet", "chess"] | None = None
    """Gives all values that are left out, for the field of the protocol."""
    pulse_ms: Positive
    time_bandwidth: Annotated[float, Field(gt=1, le=20)]
    transition: Annotated[float, Field(gt=0, lt=1)]
    carrier_ppm: Ppm = 4.65
    flips_deg: Annotated[tuple[FlipDeg, ...], Field(min_length=1, max_length=16, strict=False)]
    delays_ms: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16, strict=False)]
    """From the centre of each pulse to that of the next, the last one to the excitation's."""

    @model_validator(mode="after")
    def _one_delay_a_pulse(self) -> Self:
        if len(self.flips_deg) != len(self.delays_ms):
            raise ValueError(
                f"flips_deg has {len(self.flips_deg)} values and delays_ms {len(self.delays_ms)}: "
                "expected one delay for each pulse"
            )
        return self


class Band(_Section):
    """A slab to saturate beside the sides of the voxel."""

    normal: Direction
    """Where it lies from the voxel's centre, along the voxel's axes; a unit vector."""
    distance_mm: Positive
    """From the voxel's centre to its near edge."""


class OuterVolume(_Section):
    """Saturation of slabs around the voxel, for lipids and for what refocusing pulses excite elsewhere."""

    sides: Annotated[
        tuple[Literal["+x", "-x", "+y", "-y", "+z", "-z"], ...], Field(max_length=6, strict=False)
    ] = ("+x", "-x", "+y", "-y", "+z", "-z")
    bands: Annotated[tuple[Band, ...], Field(max_length=8, strict=False)] = ()
    """Slabs of any direction beside those at the sides."""
    thickness_mm: Positive = 40.0
    gap_mm: Annotated[float, Field(ge=0, le=100)] = 5.0
    """Between a side of the voxel and its slab."""
    pulse: SelectivePulse = SelectivePulse(time_bandwidth=10.0, transition=0.3)
    flip_deg: FlipDeg = 95.0
    carrier_ppm: Ppm = 1.3

    @model_validator(mode="after")
    def _at_most_eight(self) -> Self:
        if not 1 <= len(self.sides) + len(self.bands) <= 8:
            raise ValueError(f"sides and bands are {len(self.sides) + len(self.bands)}: expected 1 to 8")
        return self


class Inversion(_Section):
    """A non-selective adiabatic inversion before the excitation, as for the nulling of lipids."""

    ti_ms: Positive
    """From its centre to that of the excitation."""
    pulse_ms: Positive = 10.0
    bandwidth_hz: Positive = 1500.0
    carrier_ppm: Ppm = 2.0


class FlipSeries(_Section):
    """Hard pulses of several flip angles before the localisation of water, to measure B1 in the voxel."""

    flips_deg: Annotated[
        tuple[Annotated[float, Field(ge=0, le=360)], ...], Field(min_length=3, max_length=32, strict=False)
    ]
    """One for each condition."""
    pulse_us: Positive
    carrier_ppm: Ppm = 4.65


class Editing(_Section):
    """Frequency-selective editing pulses and the conditions in which they are played."""

    pulse_ms: Positive
    conditions_ppm: Annotated[
        tuple[Annotated[tuple[Ppm, ...], Field(min_length=1, max_length=2, strict=False)], ...],
        Field(min_length=2, max_length=8, strict=False),
    ]
    """One or two bands for each condition; the conditions are interleaved."""
    water_ppm: Ppm = 7.46
    """Band in the water reference, away from water."""

    @model_validator(mode="after")
    def _water_is_spared(self) -> Self:
        if abs(self.water_ppm - 4.65) < 1:
            raise ValueError(f"water_ppm is {self.water_ppm}: expected at least 1 ppm from water, 4.65")
        return self


USED_BY: dict[str, tuple[str, ...]] = {
    "tm_ms": ("steam",),
    "te1_ms": ("press",),
    "editing": ("mega-press", "mega-semi-laser"),
    "pulses.adiabatic": ("semi-laser", "mega-semi-laser"),
    "pulses.hard_us": ("pulse-acquire",),
    "pulses.refocusing_slab": ("spin-echo",),
    "flip_deg": ("pulse-acquire",),
}
"""Sequences that a key belongs to, where it is not all of them."""

NEEDED = ("tm_ms", "editing", "pulses.adiabatic")
"""Keys of that table without which their sequences cannot be built."""


class Encoding(_Section):
    """Phase encoding of an image of spectra; with a train, x is encoded by the readout instead."""

    matrix: Annotated[tuple[Count, Count, Count], Field(strict=False)]
    fov_mm: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
    elliptical: bool = False
    """Leave out the phase encodes outside of the ellipsoid in k-space that touches its faces."""
    water_flip_deg: FlipDeg | None = None
    """Measure water too in every repetition: by a small flip angle, after the metabolites."""


class Train(_Section):
    """A readout under a gradient: k-space is crossed along x, or turned around, while the spectrum evolves."""

    kind: Literal["bipolar", "flyback", "rings"] = "bipolar"
    interleaves: Annotated[int, Field(ge=1, le=8)] = 1
    """Shots, each begun a little later, whose echoes or turns are merged to the spectral width."""
    ramp_sampling: bool = True
    """Of echo-planar trains: samples on the ramps are used."""
    oversampling: Annotated[float, Field(ge=1, le=8)] = 2.0
    """Least number of samples for each 1 / FOV of k-space where the gradient is largest."""
    slew_share: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Of the scanner's slew rate."""


PHASE_CYCLES: dict[str, tuple[int, ...]] = {
    "special": (2, 8),
    "spin-echo": (1, 2, 4),
    "pulse-acquire": (1, 2, 4),
}
"""Steps of a phase cycle that a sequence has, where they are not those of `DEFAULT_PHASE_CYCLES`."""

DEFAULT_PHASE_CYCLES = (1, 4, 16)


class Protocol(_Section):
    """One scan, whatever the scanner. Keys carry their units."""

    sequence: Literal[
        "press",
        "steam",
        "mega-press",
        "semi-laser",
        "mega-semi-laser",
        "special",
        "spin-echo",
        "pulse-acquire",
    ]
    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9._+-]+$")]
    description: str = ""
    source: Annotated[str, Field(min_length=1)]
    """Why these values: the recommendation or paper they follow."""
    field_t: Annotated[float, Field(gt=0, le=25)]
    """Nominal field; the scanner's own field decides the frequencies."""
    nucleus: Literal["1H"] = "1H"
    te_ms: Annotated[float, Field(gt=0, le=2000)]
    te1_ms: Positive | None = None
    """First echo time; by default the shortest that pulses and crushers allow."""
    tm_ms: Positive | None = None
    """Mixing time of STEAM."""
    flip_deg: FlipDeg | None = None
    """Flip angle of pulse-acquire; 90 where it is left out."""
    tr_ms: Annotated[float, Field(gt=0, le=60000)]
    voxel_mm: Annotated[
        tuple[Positive, Positive, Positive], Field(strict=False, description="extent along x, y, z")
    ]
    position_mm: Annotated[
        tuple[Shift, Shift, Shift], Field(strict=False, description="centre along x, y, z from the isocentre")
    ] = (0.0, 0.0, 0.0)
    orientation: Annotated[tuple[Direction, Direction, Direction], Field(strict=False)] = (
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
    )
    """Axes x, y and z of the voxel, each in gradient coordinates: a right-handed set of unit vectors."""
    spectral_width_hz: Annotated[float, Field(gt=0, le=100000)]
    points: Annotated[int, Field(ge=64, le=65536)]
    averages: Annotated[int, Field(ge=0, le=4096)]
    """Of each editing condition; 0 for a calibration that measures water alone."""
    dummies: Annotated[int, Field(ge=0, le=64)] = 4
    water_averages: Annotated[int, Field(ge=0, le=4096)] = 4
    water_dummies: Annotated[int, Field(ge=0, le=64)] = 2
    phase_cycle: Literal[1, 2, 4, 8, 16] = 16
    """Steps; what each number cycles is said by the sequence."""
    carrier_ppm: CarrierPpm = CarrierPpm()
    pulses: Pulses = Pulses()
    crushers: Crushers = Crushers()
    editing: Editing | None = None
    encoding: Encoding | None = None
    train: Train | None = None
    water_suppression: WaterSuppression | None = None
    outer_volume: OuterVolume | None = None
    inversion: Inversion | None = None
    flip_series: FlipSeries | None = None

    @model_validator(mode="before")
    @classmethod
    def _scheme_gives_values(cls, values: Any) -> Any:
        section = values.get("water_suppression") if isinstance(values, dict) else None
        field_t = values.get("field_t") if isinstance(values, dict) else None
        if (
            isinstance(section, dict)
            and section.get("scheme") in _schemes()
            and isinstance(field_t, float | int)
        ):
            given = scheme_values(section["scheme"], float(field_t))
            return values | {"water_suppression": given | section}
        return values

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        if self.averages + self.water_averages == 0:
            raise ValueError("averages and water_averages are both 0: expected something to measure")
        if self.averages % self.phase_cycle:
            raise ValueError(
                f"averages is {self.averages}: expected a multiple of phase_cycle, {self.phase_cycle}"
            )
        if self.te_ms >= self.tr_ms:
            raise ValueError(f"te_ms is {self.te_ms}: expected less than tr_ms, {self.tr_ms}")
        if self.te1_ms is not None and self.te1_ms >= self.te_ms:
            raise ValueError(f"te1_ms is {self.te1_ms}: expected less than te_ms, {self.te_ms}")
        return self

    @model_validator(mode="after")
    def _image_holds_the_voxel(self) -> Self:
        if self.encoding is not None:
            axes = zip("xyz", self.encoding.matrix, self.encoding.fov_mm, self.voxel_mm, strict=True)
            for axis, points, fov, extent in axes:
                if points > 1 and fov < extent:
                    raise ValueError(
                        f"encoding.fov_mm along {axis} is {fov:g}: expected at least voxel_mm, {extent:g}, "
                        "which would fold into the image"
                    )
        return self

    @model_validator(mode="after")
    def _keys_belong_to_the_sequence(self) -> Self:
        steps = PHASE_CYCLES.get(self.sequence, DEFAULT_PHASE_CYCLES)
        if self.phase_cycle not in steps:
            allowed = " or ".join(str(step) for step in steps)
            raise ValueError(f"phase_cycle is {self.phase_cycle}: {self.sequence} has {allowed}")
        if self.flip_series is not None and (self.averages or self.editing is not None):
            raise ValueError("flip_series: expected a calibration that measures water alone, without editing")
        if self.train is not None and self.encoding is None:
            raise ValueError("train: expected an encoding too, for its matrix and field of view")
        if self.train is not None and self.train.kind == "rings" and self.encoding is not None:
            (nx, ny, _), (fov_x, fov_y, _) = self.encoding.matrix, self.encoding.fov_mm
            if nx != ny or fov_x != fov_y or nx < 2:
                raise ValueError(
                    f"encoding has {nx} x {ny} points over {fov_x:g} x {fov_y:g} mm: expected the same along x and y, "
                    "at least 2, for rings"
                )
        if self.train is not None and self.points % self.train.interleaves:
            raise ValueError(
                f"points is {self.points}: expected a multiple of train.interleaves, {self.train.interleaves}"
            )
        for key, sequences in USED_BY.items():
            value: object = self
            for part in key.split("."):
                value = getattr(value, part)
            if value is not None and self.sequence not in sequences:
                raise ValueError(f"{key} belongs to {' and '.join(sequences)}, not to {self.sequence}")
            if value is None and self.sequence in sequences and key in NEEDED:
                raise ValueError(f"{key} is missing: {self.sequence} needs it")
        return self

    @model_validator(mode="after")
    def _axes_are_a_frame(self) -> Self:
        axes = np.array(self.orientation)
        if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-6) or np.linalg.det(axes) < 0:
            raise ValueError(f"orientation is {self.orientation}: expected three right-handed unit vectors")
        return self

    @property
    def resolution_mm(self) -> tuple[float, float, float]:
        """Extent along x, y, z of what one spectrum comes from: the voxel, or one of an image."""
        if self.encoding is None:
            return self.voxel_mm
        shared = zip(self.voxel_mm, self.encoding.fov_mm, self.encoding.matrix, strict=True)
        x, y, z = (min(extent, fov / points) for extent, fov, points in shared)
        return x, y, z

    @property
    def dwell_s(self) -> float:
        """Time between two samples in s."""
        return 1.0 / self.spectral_width_hz
