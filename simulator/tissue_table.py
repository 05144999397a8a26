"""The table of tissues as it is written: validated, with units in its keys and nothing it does not know."""

import tomllib
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pulsespec.errors import DataError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StatedAmount(_Section):
    """A concentration in mM, or its ratio to another."""

    mm: NotNegative | None = None
    ratio: NotNegative | None = None
    to: str | None = None
    sd: NotNegative
    source: str

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.mm is None) == (self.ratio is None) or (self.ratio is None) != (self.to is None):
            raise ValueError("expected either mm, or ratio and to")
        return self


class StatedTimes(_Section):
    """Relaxation times of a metabolite at one field."""

    t1_s: Positive
    t1_source: str
    t2_s: Positive
    t2_source: str


class StatedWidth(_Section):
    """Gaussian width at one field."""

    gauss_hz: NotNegative
    sd_hz: NotNegative
    source: str


class StatedShares(_Section):
    """What a sum consists of."""

    parts: dict[str, Positive]
    source: str

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(sum(self.parts.values()) - 1) > 1e-6:
            raise ValueError(f"shares sum to {sum(self.parts.values())}, expected 1")
        return self


class StatedLines(_Section):
    """Gaussian peaks of a component that only a tissue has."""

    source: str
    peaks: list[Annotated[tuple[float, Positive, Positive], Field(strict=False)]]


class StatedSource(_Section):
    """Where a number comes from."""

    citation: Annotated[str, Field(min_length=1)]
    doi: str
    read: Annotated[str, Field(pattern="^(paper|abstract|database|derived|recalled|assumed)$")]


class StatedTissue(_Section):
    """One tissue as it is written."""

    description: str
    notes: str
    like: str | None = None
    water: StatedAmount | None = None
    relaxation: str | None = None
    linewidth: str | None = None
    snr_ppm: Annotated[tuple[float, float], Field(strict=False)] = (1.85, 2.15)
    concentrations: dict[str, StatedAmount]
    broad: dict[str, StatedAmount] = {}


class Table(_Section):
    """Everything that `tissues.toml` holds."""

    sources: dict[str, StatedSource]
    sums: dict[str, StatedShares]
    aliases: dict[str, list[str]] = {}
    lines: dict[str, StatedLines] = {}
    relaxation: dict[str, dict[str, dict[str, StatedTimes]]]
    linewidth: dict[str, dict[str, StatedWidth]]
    tissues: dict[str, StatedTissue]


@lru_cache(maxsize=1)
def shipped_table() -> Table:
    """Return the table that is shipped with the package."""
    text = files("pulsespec.simulator").joinpath("tissues.toml").read_text(encoding="utf-8")
    return parse_table(text, "tissues.toml")


def parse_table(text: str, origin: str) -> Table:
    """Return the validated table of tissues; `DataError` names what is wrong in it."""
    try:
        return Table.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{origin}: is not valid TOML ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{origin}: {where}: {first['msg']}, got {first['input']!r}") from error
