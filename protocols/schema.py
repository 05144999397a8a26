"""What a protocol may say: frozen, with units in the keys, and nothing it does not know."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Ppm = Annotated[float, Field(ge=-10, le=20, allow_inf_nan=False)]
Shift = Annotated[float, Field(ge=-500, le=500, allow_inf_nan=False)]
FlipDeg = Annotated[float, Field(gt=0, le=360, allow_inf_nan=False)]


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
    transition: Annotated[float, Field(gt=0, lt=1)]
    """Width of a transition band over the bandwidth."""


class Pulses(_Section):
    """The slice-selective pulses and how hard the transmitter is driven."""

    excitation: SelectivePulse = SelectivePulse(time_bandwidth=8.0, transition=0.45)
    refocusing: SelectivePulse = SelectivePulse(time_bandwidth=5.0, transition=0.45)
    max_b1_ut: Positive | None = None
    """Peak B1 that pulses use; by default 98 % of the scanner's, never more than the scanner's."""


class Crushers(_Section):
    """The gradients around the refocusing pulses."""

    cycles: Annotated[float, Field(ge=4, le=200)] = 16.0
    """Dephasing of one crusher over the voxel along each axis."""


class WaterSuppression(_Section):
    """Frequency-selective pulses with spoilers before the excitation, after VAPOR (Tkac et al., MRM 1999)."""

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


class Protocol(_Section):
    """One scan, whatever the scanner. Keys carry their units."""

    sequence: Literal["press"]
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
    tr_ms: Annotated[float, Field(gt=0, le=60000)]
    voxel_mm: Annotated[
        tuple[Positive, Positive, Positive], Field(strict=False, description="extent along x, y, z")
    ]
    position_mm: Annotated[
        tuple[Shift, Shift, Shift], Field(strict=False, description="centre along x, y, z from the isocentre")
    ] = (0.0, 0.0, 0.0)
    spectral_width_hz: Annotated[float, Field(gt=0, le=100000)]
    points: Annotated[int, Field(ge=64, le=65536)]
    averages: Annotated[int, Field(ge=1, le=4096)]
    dummies: Annotated[int, Field(ge=0, le=64)] = 4
    water_averages: Annotated[int, Field(ge=0, le=4096)] = 4
    water_dummies: Annotated[int, Field(ge=0, le=64)] = 2
    phase_cycle: Literal[1, 4, 16] = 16
    """Steps: 1 none, 4 both refocusing pulses together, 16 full EXORCYCLE on both."""
    carrier_ppm: CarrierPpm = CarrierPpm()
    pulses: Pulses = Pulses()
    crushers: Crushers = Crushers()
    water_suppression: WaterSuppression | None = None

    @model_validator(mode="after")
    def _values_agree(self) -> Self:
        if self.averages % self.phase_cycle:
            raise ValueError(
                f"averages is {self.averages}: expected a multiple of phase_cycle, {self.phase_cycle}"
            )
        if self.te_ms >= self.tr_ms:
            raise ValueError(f"te_ms is {self.te_ms}: expected less than tr_ms, {self.tr_ms}")
        if self.te1_ms is not None and self.te1_ms >= self.te_ms:
            raise ValueError(f"te1_ms is {self.te1_ms}: expected less than te_ms, {self.te_ms}")
        return self

    @property
    def dwell_s(self) -> float:
        """Time between two samples in s."""
        return 1.0 / self.spectral_width_hz
