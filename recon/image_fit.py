"""Fits of a spectroscopic image in blocks of voxels, so that memory does not grow with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.executor import iter_blocks
from pulsespec.recon.fit import BatchResult, FitSettings, fit_batch, fitted_samples
from pulsespec.recon.fit_noise import some_of
from pulsespec.recon.image_grid import Chosen
from pulsespec.recon.image_merit import merits
from pulsespec.recon.image_scale import ImageScale, concentrations, nothing
from pulsespec.recon.image_tables import amplitudes_of, linewidths, ratios, rows_of, trading, verdicts
from pulsespec.recon.image_water import water_band, without_water
from pulsespec.recon.plane_basis import PlaneBasis
from pulsespec.recon.transients import Scan, Transients

Real = NDArray[np.float64]

BLOCK = 128
"""Voxels of one block."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that the fit of a block needs but the data of its voxels."""

    like: Transients
    """Says dwell time, frequency and reference; its data are of no account."""
    basis: Any
    settings: FitSettings
    water_removal: bool
    scale: ImageScale | None
    """`None` where there is no water to scale by."""
    samples: int | None = None
    """How many of each FID are fitted, the same for all voxels; see `measured`."""
    planes: PlaneBasis | None = None
    """Bases of the planes along z, where a slab makes them differ; amplitudes are those of each plane's own then."""

    def basis_at(self, plane: int) -> Any:
        """Return what voxels of a plane along z are fitted with."""
        return self.basis if self.planes is None else self.planes.at(plane)


@dataclass(frozen=True, eq=False)
class Block:
    """Data of some voxels."""

    fids: NDArray[np.complexfloating]
    """Shape (v, samples)."""
    water: NDArray[np.complexfloating] | None
    """Shape (v, samples of water)."""
    fractions: Real
    """Volume fractions of gm, wm and csf; shape (v, 3)."""
    places: NDArray[np.intp]
    """Numbers of each voxel along x, y, z; shape (v, 3)."""


@dataclass(frozen=True, eq=False)
class ImageFit:
    """What was found in v voxels; r rows: components, then sums."""

    rows: tuple[str, ...]
    components: tuple[str, ...]
    index: NDArray[np.intp]
    """Of each voxel along x, y and z; shape (v, 3)."""
    shape: tuple[int, int, int]
    """Of the image."""
    numbers: Mapping[str, Real]
    """By name of quantity: `value sd bound crlb upper_95 ratio ratio_sd tnaa_ratio tnaa_ratio_sd mM mM_sd molal
    molal_sd`; each of shape (v, r)."""
    voxel: Mapping[str, Real]
    """By name: `snr best_snr linewidth shift_ppm residual_over_noise noise_sd phase_deg verdict steps`; shape (v,)."""
    trades: NDArray[np.bool_]
    """Whether a component trades against another of its sum; shape (v, r)."""
    linewidth_of: str
    left_out: tuple[str, ...]
    """Components of the basis that have no signal in the fitted range."""


def fit_image(
    scan: Scan,
    chosen: Chosen,
    plan: Plan,
    fractions: Real,
    *,
    block_voxels: int = BLOCK,
    jobs: int = 1,
    notify: Callable[[str], None] = lambda _: None,
) -> ImageFit:
    """Fit the chosen voxels of an image, each for itself.

    The same numbers come out to the bit for any number of `jobs`: blocks are the same. Blocks of another size give the
    same within rounding.

    Parameters
    ----------
    scan
        Images on one grid, dims ("x", "y", "z", "t").
    chosen
        Voxels to fit.
    plan
        How.
    fractions
        Volume fractions of gm, wm and csf of each chosen voxel; shape (v, 3).
    block_voxels
        Voxels of one block: what is in memory at once is in proportion to it, times `jobs`.
    jobs
        Processes.
    notify
        Takes a line on progress.

    """
    plan = measured(plan, scan, chosen)
    found: list[dict[str, Any]] = []
    done, told = 0, 0
    parts = _parts(chosen, block_voxels, plan.planes is not None)
    blocks = _Blocks(scan, chosen, fractions, parts)
    for result in iter_blocks(
        partial(fit_block, plan), blocks, jobs, keep=True, name=f"fits of {block_voxels} voxels"
    ):
        found.append(result)
        done += len(result["verdict"])
        if done - told >= max(len(chosen.index) // 10, block_voxels) or done == len(chosen.index):
            notify(f"fitted {done} of {len(chosen.index)} voxels")
            told = done
    assert scan.metabolite is not None
    x, y, z = scan.metabolite.data.shape[:3]
    first = found[0]

    order = np.argsort(np.concatenate(parts))

    def whole(name: str) -> Any:
        return np.concatenate([one[name] for one in found])[order]

    return ImageFit(
        first["rows"],
        first["components"],
        chosen.index,
        (x, y, z),
        {name: whole(name) for name in first["of_rows"]},
        {name: whole(name) for name in first["of_voxel"]},
        whole("trades"),
        first["linewidth_of"],
        first["left_out"],
    )


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The blocks of an image, each made when its turn comes."""

    scan: Scan
    chosen: Chosen
    fractions: Real
    parts: list[NDArray[np.intp]]
    """Numbers of the voxels of each block."""

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Block]:
        assert self.scan.metabolite is not None
        for part in self.parts:
            at = tuple(self.chosen.index[part].T)
            water = None if self.scan.water is None else self.scan.water.data[at]
            places = np.stack(at[:3], axis=1)
            yield Block(self.scan.metabolite.data[at], water, self.fractions[part], places)


def _parts(chosen: Chosen, size: int, by_plane: bool) -> list[NDArray[np.intp]]:
    """Return the numbers of the voxels of each block: of one plane along z each, if asked."""
    plane = chosen.index[:, 2] if by_plane else np.zeros(len(chosen.index), np.intp)
    parts = [np.flatnonzero(plane == one) for one in np.unique(plane)]
    return [part[first : first + size] for part in parts for first in range(0, len(part), size)]


def measured(plan: Plan, scan: Scan, chosen: Chosen) -> Plan:
    """Return the plan with the number of samples that the chosen voxels together ask for, unless it has one."""
    if plan.samples is not None:
        return plan
    assert scan.metabolite is not None
    at = tuple(chosen.index[some_of(len(chosen.index))].T)
    data = cleaned(plan, scan.metabolite.data[at])
    return replace(plan, samples=fitted_samples(data, plan.basis, plan.settings))


def cleaned(plan: Plan, fids: NDArray[np.complexfloating]) -> Transients:
    """Return the FIDs of some voxels as they are fitted, dims ("x", "t")."""
    whole = fids.astype(np.complex128)
    if plan.water_removal:
        whole = without_water(whole, water_band(plan.like))
    return replace(plan.like, data=whole, dims=("x", "t"))


def fit_one(plan: Plan, fid: NDArray[np.complexfloating], plane: int = 0) -> BatchResult:
    """Return the fit of a single voxel of a plane along z, for its curves; shape (samples,)."""
    return fit_batch(cleaned(plan, fid[None]), plan.basis_at(plane), plan.settings, samples=plan.samples)


def fit_block(plan: Plan, block: Block) -> dict[str, Any]:
    """Return the numbers of the voxels of a block, by the names of `ImageFit`."""
    data = cleaned(plan, block.fids)
    basis = plan.basis_at(int(block.places[0, 2]))
    batch = fit_batch(data, basis, plan.settings, samples=plan.samples)
    of_rows = _of_rows(batch, plan, block)
    of_voxel = _of_voxel(batch, data)
    width, name = linewidths(batch)
    of_voxel["linewidth"] = width
    rows = tuple(rows_of(batch.names))
    trades = trading(batch)
    nowhere = np.zeros(len(width), dtype=bool)
    return {
        "rows": rows,
        "components": batch.names,
        "of_rows": tuple(of_rows),
        "of_voxel": tuple(of_voxel),
        "trades": np.stack([trades.get(row, nowhere) for row in rows], axis=1),
        "linewidth_of": name,
        "left_out": batch.left_out,
        **of_rows,
        **of_voxel,
    }


def _of_rows(batch: BatchResult, plan: Plan, block: Block) -> dict[str, Real]:
    amounts = amplitudes_of(batch)
    to_naa, to_naa_sd = ratios(batch, ("NAA", "NAAG"))
    scaled = nothing((amounts.value.shape[0], amounts.value.shape[1]))
    if plan.scale is not None and block.water is not None:
        own = plan.planes is not None
        scaled = concentrations(batch, plan.scale, block.water, block.fractions, block.places, own)
    return {
        "value": amounts.value,
        "sd": amounts.sd,
        "bound": amounts.bound,
        "crlb": amounts.crlb_percent,
        "upper_95": amounts.upper_95,
        "ratio": amounts.ratio,
        "ratio_sd": amounts.ratio_sd,
        "tnaa_ratio": to_naa,
        "tnaa_ratio_sd": to_naa_sd,
        **scaled,
    }


def _of_voxel(batch: BatchResult, data: Transients) -> dict[str, Real]:
    merit = merits(data.data, data)
    phase = np.rad2deg(batch.phase + batch.theta[:, batch.problem.layout.phase0])
    return {
        "snr": merit.snr,
        "best_snr": merit.best_snr,
        "shift_ppm": batch.shift_ppm,
        "residual_over_noise": batch.residual_over_noise,
        "noise_sd": batch.noise_sd,
        "phase_deg": (phase + 180) % 360 - 180,
        "steps": batch.steps.astype(np.float64),
        "verdict": verdicts(batch).astype(np.float64),
    }
