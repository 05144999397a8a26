"""What the scan of an image suffers from: settings, checked, with named sets as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
from pydantic import Field

from pulsespec.errors import InputError
from pulsespec.simulator.settings_table import check_settings, settings_of

Any_ = Annotated[float, Field(allow_inf_nan=False)]
Least0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Three = Annotated[tuple[Any_, Any_, Any_], Field(strict=False)]

SOURCES = ("noise", "frequency", "phase", "motion")
"""What has a seed of its own."""
_FILE = "image_faults.toml"


@dataclass(frozen=True)
class ImageFaults:
    """What the scan of an image suffers from; every number is part of the truth in the header."""

    coils: Annotated[int, Field(ge=1, le=128)] = 8
    """Loops around the head."""
    snr: Annotated[float, Field(gt=0)] = 25.0
    """Height of NAA over the standard deviation of the noise in the real spectrum (doi:10.1002/nbm.4347), of a voxel
    full of white matter, reconstructed without filter, odd and even echoes and averages together, coils combined
    optimally: the median over voxels of white matter in the slab; infinite for no noise."""
    gradient_delay_us: Three = (0.0, 0.0, 0.0)
    """By how much the gradients under a readout come late along x, y, z of the gradients: odd and even echoes of a
    bipolar train shift apart by twice that."""
    echo_phase_deg: Any_ = 0.0
    """Constant phase between odd and even echoes: each has half of it, with opposite signs."""
    echo_shift: Any_ = 0.0
    """Linear phase between odd and even echoes, in turns across the field of view along the readout."""
    residual_water: Least0 = 0.0
    """Share of the water, as decayed at the echo time, that suppression leaves in metabolite shots."""
    drift_hz: Any_ = 0.0
    """Linear change of frequency from the first to the last shot."""
    frequency_jitter_hz: Least0 = 0.0
    """Standard deviation of the frequency from shot to shot, as breathing gives it."""
    phase_jitter_deg: Least0 = 0.0
    """Standard deviation of the phase of a shot."""
    eddy_rad: Any_ = 0.0
    """Phase that decaying eddy currents add over the readout, the same everywhere."""
    eddy_time_s: Above0 = 0.05
    """Their time constant."""
    motion_mm: Least0 = 0.0
    """Standard deviation along each axis, at the last shot, of a random walk of the head with coils and field."""
    seeds: Mapping[Annotated[str, Field()], Annotated[int, Field(ge=0)]] = field(default_factory=dict)
    """Seeds in place of that of the scan, by what has one: a name of `SOURCES`."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(ImageFaults, "faults", {one.name: getattr(self, one.name) for one in fields(self)})
        strange = [name for name in self.seeds if name not in SOURCES]
        if strange:
            raise InputError(f"faults: seeds.{strange[0]}: expected one of {', '.join(SOURCES)}")

    def stream(self, seed: int, name: str, *more: int) -> np.random.Generator:
        """Return the generator of one fault (and one shot): independent of those of all others."""
        key = (crc32(name.encode()), *more)
        return np.random.default_rng(np.random.SeedSequence(self.seeds.get(name, seed), spawn_key=key))

    def as_json(self) -> dict[str, Any]:
        """Return the faults as JSON has them: lists for tuples, null for an infinite SNR."""
        values = asdict(self) | {"seeds": dict(self.seeds), "gradient_delay_us": list(self.gradient_delay_us)}
        return values | {"snr": None if self.snr == float("inf") else self.snr}


def load_image_faults(name_or_path: str | Path = "plain", **changes: Any) -> ImageFaults:
    """Return the faults of a shipped set or of a TOML file, with single values changed; `None` does not count.

    Raises
    ------
    InputError
        There is no such set or file, it is not TOML, or a key or value is wrong.

    """
    values = settings_of(name_or_path, _FILE, "faults")
    values |= {key: value for key, value in changes.items() if value is not None}
    check_settings(ImageFaults, str(name_or_path), values)
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return ImageFaults(**(values | tuples))
