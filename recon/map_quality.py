"""Which voxels of an image can be believed: limits are data with sources, `map_quality.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.recon.image_fit import ImageFit

REASONS = {
    1: "the fit cannot be believed",
    2: "linewidth",
    4: "SNR",
    8: "Cramer-Rao bound",
    16: "shift",
}
"""Bits of the map of reasons; 0 where a voxel passes."""
_MAIN = ("tNAA", "tCr", "tCho")


@cache
def limits() -> Mapping[str, Mapping[str, Any]]:
    """Return what `map_quality.toml` says."""
    return tomllib.loads(files("pulsespec.recon").joinpath("map_quality.toml").read_text(encoding="utf-8"))


def reasons(found: ImageFit, f0_hz: float) -> NDArray[np.uint8]:
    """Return the limits that each voxel does not keep, as bits of `REASONS`; what is not known fails; shape (v,)."""
    at = [found.rows.index(name) for name in _MAIN if name in found.rows]
    best = np.full(len(found.index), np.inf)
    if at:
        best = np.nan_to_num(found.numbers["crlb"][:, at], nan=np.inf).min(axis=1)
    width_ppm = found.voxel["linewidth"] / f0_hz * 1e6
    with np.errstate(invalid="ignore"):
        failed = {
            1: found.voxel["verdict"] != 0,
            2: ~(width_ppm <= limits()["linewidth_ppm"]["most"]),
            4: ~(found.voxel["best_snr"] >= limits()["snr"]["least"]),
            8: ~(best <= limits()["crlb_percent"]["most"]) if at else np.zeros(len(best), dtype=bool),
            16: ~(np.abs(found.voxel["shift_ppm"]) <= limits()["shift_ppm"]["most"]),
        }
    bits = np.zeros(len(found.index), dtype=np.uint8)
    for bit, here in failed.items():
        bits |= np.where(here, bit, 0).astype(np.uint8)
    return bits


def shares_of(bits: NDArray[np.uint8]) -> dict[str, float]:
    """Return the share of voxels that pass, and that fail for each reason."""
    failing = {words: float(np.mean((bits & bit) > 0)) for bit, words in REASONS.items()}
    return {"passing": float(np.mean(bits == 0))} | failing
