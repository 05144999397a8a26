"""What a scanner can play: limits, rasters and dead times, from a table with its sources."""

import dataclasses
import difflib
import functools
import tomllib
from importlib.resources import files
from typing import Any

import pypulseq

from pulsespec.conventions import gamma_hz_per_t, larmor_hz
from pulsespec.errors import InputError

_US_PER_S = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scanner:
    """The limits of one scanner. A variant, as at another field, comes from `dataclasses.replace`."""

    name: str
    vendor: str
    b0_t: float
    """Field in tesla: what "3T" is on this scanner, or exactly that of given data."""
    max_grad_mt_per_m: float
    """Largest gradient of one axis."""
    max_slew_t_per_m_per_s: float
    """Largest slew rate of one axis."""
    max_b1_ut: float
    """Largest B1 of a pulse."""
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
    adc_samples_limit: int
    adc_samples_divisor: int
    source: str
    """Where the numbers come from."""
    nucleus: str = "1H"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and not value >= 0:
                raise InputError(f"Scanner.{field.name}: got {value}, expected a number of at least 0")
        if self.b0_t <= 0:
            raise InputError(f"Scanner.b0_t: got {self.b0_t}, expected a field above 0 T")

    @property
    def f0_hz(self) -> float:
        """Larmor frequency in Hz."""
        return larmor_hz(self.b0_t, self.nucleus)

    @property
    def max_b1_hz(self) -> float:
        """Largest gamma B1 / 2 pi in Hz."""
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
            B0=self.b0_t,
            max_grad=self.max_grad_hz_per_m,
            max_slew=self.max_slew_hz_per_m_per_s,
            rf_dead_time=self.rf_dead_time_s,
            rf_ringdown_time=self.rf_ringdown_s,
            adc_dead_time=self.adc_dead_time_s,
            rf_raster_time=self.rf_raster_s,
            grad_raster_time=self.grad_raster_s,
            block_duration_raster=self.block_raster_s,
            adc_raster_time=self.adc_raster_s,
            adc_samples_limit=self.adc_samples_limit,
            adc_samples_divisor=self.adc_samples_divisor,
        )


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("pulsespec.sequences") / "scanners.toml").read_text())


def list_scanners() -> list[str]:
    """Return the names of all scanners in the table, sorted."""
    return sorted(_table()["scanners"])


def load_scanner(name: str) -> Scanner:
    """Return the scanner `name`; `InputError` with the names there are where it is not in the table."""
    if name not in list_scanners():
        near = difflib.get_close_matches(name, list_scanners(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"scanner: got {name!r}, expected one of {', '.join(list_scanners())}{hint}")
    entry = dict(_table()["scanners"][name])
    values = {**_table()[entry.pop("family")], **entry}
    in_seconds = {
        (key.removesuffix("_us") + "_s" if key.endswith("_us") else key): (
            value / _US_PER_S if key.endswith("_us") else value
        )
        for key, value in values.items()
    }
    return Scanner(name=name, **in_seconds)
