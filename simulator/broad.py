"""Macromolecules and lipids as parametrised groups of Gaussian peaks, in published models."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM, field_from_larmor
from pulsespec.errors import InputError
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.molecule import Source

Real = NDArray[np.float64]

DEFAULT_MODEL = "lcmodel"
"""Of tissues and of virtual scans."""
_MEASURED = {3.0: "birch-3t", 7.0: "bell-7t"}
"""Models of measured macromolecules by nominal field in tesla: what spectra are fitted with."""
_AREA_SD = 0.4
"""Relative: between people, ages and sequences; LCModel's ratios have 0.25 to 0.64."""


@dataclass(frozen=True)
class BroadComponent:
    """Peaks whose areas keep their ratio."""

    name: str
    ppm: Real
    """Positions; shape (n,)."""
    width_ppm: Real
    """Full widths at half maximum; shape (n,)."""
    protons: Real
    """Areas in protons, at the model's echo time; shape (n,)."""
    t2_s: float | None = None
    """Decay of the area with echo time, evolution under couplings included; `None` where not published."""
    t2_sd_s: float | None = None


@dataclass(frozen=True)
class BroadModel:
    """A set of components that was published together."""

    name: str
    description: str
    components: tuple[BroadComponent, ...]
    sources: tuple[Source, ...]
    """Source of positions and areas, and of widths and T2 where it is another."""
    f0_hz: float | None = None
    """Frequency at which the widths were measured; `None` where the source gives them in ppm."""
    te_s: float | None = None
    """Echo time of the areas, where components have a T2."""

    def at_echo_time(self, te_s: float) -> "BroadModel":
        """Return the model with its areas carried to another echo time by each T2.

        Raises
        ------
        InputError
            The model has no T2.

        """
        if self.te_s is None:
            raise InputError(f"broad model {self.name}: has no T2 to carry its areas to another echo time")
        return replace(
            self, te_s=te_s, components=tuple(_decayed(c, te_s - self.te_s) for c in self.components)
        )


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(files("pulsespec.simulator").joinpath("macromolecules.toml").read_text())


def list_models() -> list[str]:
    """Return the names of all models of macromolecules and lipids."""
    return list(_table()["models"])


def load_model(name: str = DEFAULT_MODEL) -> BroadModel:
    """Return a model of macromolecules and lipids; `InputError` where there is none of that name."""
    models = _table()["models"]
    if name not in models:
        raise InputError(f"broad model {name!r}: expected one of {', '.join(models)}")
    entry = models[name]
    f0_hz = entry["f0_mhz"] * 1e6 if entry["width_unit"] == "Hz" else None
    keys = [entry["source"], *([entry["width_source"]] if "width_source" in entry else [])]
    return BroadModel(
        name,
        entry["description"],
        tuple(_component(key, row, f0_hz) for key, row in entry["components"].items()),
        tuple(Source(key, **_table()["sources"][key]) for key in keys),
        f0_hz,
        entry["te_ms"] * 1e-3 if "te_ms" in entry else None,
    )


def list_broad(model: str = DEFAULT_MODEL) -> list[str]:
    """Return the names of all macromolecule and lipid components of a model."""
    return [component.name for component in load_model(model).components]


def broad_lines(
    f0_hz: float,
    names: Sequence[str] | None = None,
    reference_ppm: float = RECEIVER_PPM,
    model: str = DEFAULT_MODEL,
    te_s: float | None = None,
) -> dict[str, Lines]:
    """Return the lines of macromolecules and lipids at a field; widths in ppm scale with it.

    Amplitudes count protons as for a metabolite whose signal suffers no loss, at `te_s` if given, else as
    published; the peaks have no phase from coupling, which for these widths cannot be told from their shape.

    Raises
    ------
    InputError
        A name is not in the model, there is no such model, or it has no T2 to reach `te_s` with.

    """
    chosen = load_model(model) if te_s is None else load_model(model).at_echo_time(te_s)
    components = {component.name: component for component in chosen.components}
    found = {}
    for name in components if names is None else names:
        if name not in components:
            raise InputError(f"broad component {name!r}: expected one of {', '.join(components)}")
        found[name] = _lines(components[name], f0_hz, reference_ppm)
    return found


def fit_lines(f0_hz: float, reference_ppm: float = RECEIVER_PPM) -> dict[str, Lines]:
    """Return the macromolecules and lipids that a spectrum is fitted with unless its basis has its own.

    Macromolecules as they were measured nearest to the field, lipids as LCModel has them.
    """
    field_t = field_from_larmor(f0_hz, "1H")
    model = _MEASURED[min(_MEASURED, key=lambda nominal: abs(np.log(nominal / field_t)))]
    lipids = [name for name in list_broad() if name.startswith("Lip")]
    return broad_lines(f0_hz, None, reference_ppm, model) | broad_lines(f0_hz, lipids, reference_ppm)


def ratio_priors() -> tuple[tuple[str, str, float, float], ...]:
    """Return soft ratios: (component, sum of references joined by "+", ratio, its SD).

    Those of LCModel's components are its manual's. Measured macromolecules have the areas of their source relative to
    the first, give or take `_AREA_SD`.
    """
    stated = [(row["of"], row["to"], row["ratio"], row["sd"]) for row in _table()["ratios"]]
    for model in _MEASURED.values():
        first, *others = list_broad(model)
        stated += [(name, first, 1.0, _AREA_SD) for name in others]
    return tuple(stated)


def _component(name: str, row: dict[str, Any], f0_hz: float | None) -> BroadComponent:
    ppm, width, protons = np.array(row["peaks"], dtype=float).T
    t2_s, t2_sd_s = (row[key] * 1e-3 if key in row else None for key in ("t2_ms", "t2_sd_ms"))
    width_ppm = width if f0_hz is None else width / f0_hz * 1e6
    return BroadComponent(name, ppm, width_ppm, protons, t2_s, t2_sd_s)


def _lines(component: BroadComponent, f0_hz: float, reference_ppm: float) -> Lines:
    to_hz = f0_hz * 1e-6
    return Lines(
        (component.ppm - reference_ppm) * to_hz,
        component.protons.astype(complex),
        np.zeros(component.ppm.size),
        component.width_ppm * to_hz,
    )


def _decayed(component: BroadComponent, wait_s: float) -> BroadComponent:
    assert component.t2_s is not None
    return replace(component, protons=component.protons * np.exp(-wait_s / component.t2_s))
