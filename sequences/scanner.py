"""What a scanner can play: limits, rasters and dead times, from a table with its sources."""

import dataclasses
import difflib
import functools
import math
import tomllib
from importlib.resources import files
from typing import Any

import pypulseq

from pulsespec.conventions import gamma_hz_per_t, larmor_hz
from pulsespec.errors import InputError

_US_PER_S = 1e6
_FIELD_TOLERANCE = 0.05
_WAVEFORM_STEP_S = 4e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scanner:
    """The limits of one scanner. A variant, as at another field, comes from `dataclasses.replace`."""

    name: str
    vendor: str
    b0_t: float | None
    """Field in tesla: what "3T" is on this scanner, or exactly that of given data; `None` for a console that
    drives any magnet."""
    max_grad_mt_per_m: float
    """Largest gradient of one axis."""
    max_slew_t_per_m_per_s: float
    """Largest slew rate of one axis."""
    max_b1_ut: float | None
    """Largest B1 of a pulse; `None` where it depends on the coil that a console drives."""
    rf_raster_s: float
    grad_raster_s: float
    block_raster_s: float
    adc_raster_s: float
    rf_dead_time_s: float
    """From the start of a block to the earliest start of its pulse."""
    rf_ringdown_s: float
    """From the end of a pulse to the earliest end of its block."""
    adc_dead_time_s: float
    """Before the first and after the last sample of a readout."""
    source: str
    """Where the numbers come from."""
    adc_samples_limit: int | None = None
    """Most samples of a segment of a readout; `None` where no limit is known. So for all that follow."""
    adc_samples_divisor: int = 1
    """A segment has a multiple of this number of samples."""
    adc_segments_limit: int | None = None
    """Most segments of a readout."""
    one_readout_length: bool = False
    """Whether all readouts of a file must have as many samples."""
    adc_delay_raster_s: float | None = None
    """Raster of the start of a readout in its block; `None` where it is that of pulses."""
    dead_times_span_blocks: bool = False
    """Whether dead time and ringdown may lie in neighbouring blocks, and must only not overlap."""
    needs_trid: bool = False
    """Whether the interpreter wants a `TRID` label at the start of every segment."""
    segment_ringdown_s: float = 0.0
    """Time that the interpreter adds to every segment: a repetition lasts that much longer than in the file."""
    max_file_mb: float | None = None
    """Largest file that is known to run."""
    max_repetitions: int | None = None
    """Number of repetitions above which the interpreter is known to fail."""
    max_b1_rms_ut: float | None = None
    """Largest B1 as root of its mean square over any ten seconds."""
    max_grad_rms_mt_per_m: float | None = None
    """Largest root of the mean square of one gradient over any ten seconds."""
    stimulation_rheobase_t_per_s: float | None = None
    stimulation_chronaxie_s: float | None = None
    stimulation_length_m: float | None = None
    """Model of peripheral nerve stimulation: see `stimulation`."""
    forbidden_hz: tuple[tuple[tuple[float, float], ...], ...] | None = None
    """For x, y, z the bands of frequencies in which the gradients must not oscillate."""
    nucleus: str = "1H"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and not value >= 0:
                raise InputError(f"Scanner.{field.name}: got {value}, expected a number of at least 0")
        if self.b0_t is not None and self.b0_t <= 0:
            raise InputError(f"Scanner.b0_t: got {self.b0_t}, expected a field above 0 T")

    @property
    def field_t(self) -> float:
        """Field in tesla; `InputError` where this console has none of its own and none was given."""
        if self.b0_t is None:
            raise InputError(f"{self.name}: drives any magnet: say its field in tesla (--field)")
        return self.b0_t

    @property
    def waveform_step_s(self) -> float:
        """Raster on which gradients are looked at as a whole: that of blocks, but not below 4 us."""
        return math.ceil(_WAVEFORM_STEP_S / self.block_raster_s - 1e-9) * self.block_raster_s

    @property
    def f0_hz(self) -> float:
        """Larmor frequency in Hz."""
        return larmor_hz(self.field_t, self.nucleus)

    @property
    def max_b1_hz(self) -> float:
        """Largest gamma B1 / 2 pi in Hz; `InputError` where it is not known and none was given."""
        if self.max_b1_ut is None:
            raise InputError(f"{self.name}: its B1 depends on the coil: say it in uT (--max-b1-ut)")
        return self.max_b1_ut * 1e-6 * gamma_hz_per_t(self.nucleus)

    @property
    def max_grad_hz_per_m(self) -> float:
        """Largest gradient of one axis in Hz/m."""
        return self.max_grad_mt_per_m * 1e-3 * gamma_hz_per_t(self.nucleus)

    @property
    def max_slew_hz_per_m_per_s(self) -> float:
        """Largest slew rate of one axis in Hz/m/s."""
        return self.max_slew_t_per_m_per_s * gamma_hz_per_t(self.nucleus)

    @property
    def opts(self) -> pypulseq.Opts:
        """These limits as pypulseq takes them."""
        return pypulseq.Opts(
            gamma=gamma_hz_per_t(self.nucleus),
            B0=self.b0_t or 0.0,
            max_grad=self.max_grad_hz_per_m,
            max_slew=self.max_slew_hz_per_m_per_s,
            rf_dead_time=self.rf_dead_time_s,
            rf_ringdown_time=self.rf_ringdown_s,
            adc_dead_time=self.adc_dead_time_s,
            rf_raster_time=self.rf_raster_s,
            grad_raster_time=self.grad_raster_s,
            block_duration_raster=self.block_raster_s,
            adc_raster_time=self.adc_raster_s,
            adc_samples_limit=self.adc_samples_limit or 0,
            adc_samples_divisor=self.adc_samples_divisor,
        )


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("pulsespec.sequences") / "scanners.toml").read_text())


def list_scanners() -> list[str]:
    """Return the names of all scanners in the table, sorted."""
    return sorted(_table()["scanners"])


def load_scanner(name: str, *, field_t: float | None = None, max_b1_ut: float | None = None) -> Scanner:
    """Return the scanner `name`, with the field and B1 of this very one where they are given.

    Raises
    ------
    InputError
        The name is not in the table (the message has those that are); the field is more than 5 % off that of
        the table.

    """
    if name not in list_scanners():
        near = difflib.get_close_matches(name, list_scanners(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"scanner: got {name!r}, expected one of {', '.join(list_scanners())}{hint}")
    entry = dict(_table()["scanners"][name])
    values: dict[str, Any] = {**_table()[entry.pop("family")], **entry}
    if "forbidden_echo_spacings_us" in values:
        spacings = values.pop("forbidden_echo_spacings_us")
        values["forbidden_hz"] = tuple(
            tuple((0.5e6 / longest, 0.5e6 / shortest) for shortest, longest in axis) for axis in spacings
        )
    in_seconds = {
        (key.removesuffix("_us") + "_s" if key.endswith("_us") else key): (
            value / _US_PER_S if key.endswith("_us") else value
        )
        for key, value in values.items()
    }
    scanner = Scanner(name=name, **{"b0_t": None, "max_b1_ut": None, **in_seconds})
    if field_t is not None:
        if scanner.b0_t is not None and abs(field_t / scanner.b0_t - 1) > _FIELD_TOLERANCE:
            raise InputError(f"field: got {field_t:g} T, and {name} has {scanner.b0_t:g} T")
        scanner = dataclasses.replace(scanner, b0_t=field_t)
    return scanner if max_b1_ut is None else dataclasses.replace(scanner, max_b1_ut=max_b1_ut)
