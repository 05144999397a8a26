"""What `fit` and `run` do with a spectroscopic image: all its voxels fitted in blocks; maps, one table, one page."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pulsespec
from pulsespec import commands, region_verbs
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pulsespec.recon.image_fit import ImageFit, Plan
    from pulsespec.recon.image_grid import Chosen
    from pulsespec.recon.maps import Maps
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.transients import Scan, Transients

SPACE = ("x", "y", "z")
_WITNESSES = 5
"""Voxels whose spectra are held against the basis."""
_MOST_LIPID = 1.0
"""Signal at 0.45 to 1.75 ppm over that at 1.85 to 3.45 ppm beyond which a spectrum does not show where it lies:
0.5 in the virtual head at TE 17.6 without scalp lipid, 0.2 at TE 144."""
_LEAST_GRID = 4
"""Voxels along the two longest edges of a grid that may show a head; fewer are a row of voxels."""
_SHOWN = 6
"""Voxels whose spectra the page shows."""


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """How an image is fitted."""

    mask: Path | None = None
    """NIfTI image: voxels of which more than half lies in it are fitted; by their signal where `None`."""
    block_voxels: int | None = None
    """Voxels of one block; that of `image_fit` where `None`."""
    jobs: int = 1
    phantom: bool = False
    """No brain: no T2 and no usual amounts of metabolites are expected of it."""
    lesion: "region_verbs.LesionMasks | None" = None
    """A lesion that is compared with the other side."""
    lipid_removal: bool = True
    """Whether scalp lipid is removed from the brain, where a scalp is found."""
    filter: str = "hamming"
    """Weight over k-space of what is reconstructed here, see `recon.image_settings`: without one, scalp lipid rings
    through the whole brain."""
    sequence: Path | None = None
    """The `.seq` that was played: what its inversions, water pulses and slab leave is then in mM."""
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `FitSettings`: what is fitted."""


def is_image(scan: "Scan") -> bool:
    """Return whether the metabolite data are of several voxels."""
    return scan.metabolite is not None and any(name in scan.metabolite.dims for name in SPACE)


def fit_voxels(
    scan: "Scan",
    basis: Any,
    folder: Path,
    settings: Mapping[str, Any],
    notify: Notify = silent,
    assumptions: "QuantifySettings | None" = None,
    options: ImageOptions | None = None,
) -> dict[str, Any]:
    """Fit an image with one basis and write everything into `folder`.

    `maps/NAME.nii.gz` and so on (`recon.maps`), `concentrations.tsv` with a row for each voxel and metabolite,
    `result.json` and `report.html`. The result has the medians over voxels that pass the quality mask.

    Raises
    ------
    MismatchError
        The water reference has other voxels, or data and basis do not belong together.
    DataError
        No voxel can be fitted.

    """
    from pulsespec.recon.image_fit import BLOCK, fit_image, measured
    from pulsespec.recon.image_grid import chosen_voxels, image_scan
    from pulsespec.recon.map_quality import reasons
    from pulsespec.recon.maps import Maps, summary, write_long_table, write_maps
    from pulsespec.recon.quantify import QuantifySettings
    from pulsespec.recon.volumes import read_volume

    options = options or ImageOptions()
    assumptions = assumptions or QuantifySettings()
    _check_masks(options)
    scan, brain, cleaned = clean(image_scan(scan), options, notify)
    assert scan.metabolite is not None
    mask = None if options.mask is None else read_volume(options.mask)
    chosen = chosen_voxels(scan.metabolite, mask, brain)
    notify(f"fitting {chosen.words}")
    scan, basis, said = matched_image(scan, chosen, basis)
    assert scan.metabolite is not None
    fractions, words = _fractions(scan.metabolite, chosen, assumptions)
    plan, more = _plan(scan, basis, assumptions, fractions is not None, options)
    plan = measured(plan, scan, chosen)
    shares = _assumed(assumptions, len(chosen.index)) if fractions is None else fractions
    found = fit_image(
        scan,
        chosen,
        plan,
        shares,
        block_voxels=options.block_voxels or BLOCK,
        jobs=options.jobs,
        notify=notify,
    )
    image = scan.metabolite
    maps = Maps(found, reasons(found, image.f0_hz), image.geometry, image.f0_hz, fractions)
    names = write_maps(maps, folder / "maps")
    write_long_table(maps, folder / "concentrations.tsv")
    warnings = [*cleaned, *said, *words, *more, *_doubts(maps, image)]
    result = _result(maps, scan, basis, plan, settings, chosen, warnings) | {"maps": names}
    (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    parts, doubt = _lesion(folder, options, notify)
    if doubt:
        warnings += doubt
        result |= {"warnings": warnings}
        (folder / "result.json").write_text(to_json(result) + "\n", encoding="utf-8")
    _report(maps, scan, plan, parts, result, folder / "report.html")
    for one in warnings:
        notify(f"warning: {one}")
    return {
        "concentrations": summary(maps),
        "warnings": warnings,
        "voxels": result["voxels"],
        "converged": bool(np.any(maps.believed)),
    }


def _check_masks(options: ImageOptions) -> None:
    """Raise before anything is fitted where an image that is named cannot be read."""
    from pulsespec.recon.volumes import read_labels, read_volume

    if options.lesion is not None:
        for path in (options.lesion.lesion, options.lesion.contralateral, options.lesion.normal):
            if path is not None:
                read_labels(path)
        if options.lesion.midplane is not None:
            read_volume(options.lesion.midplane)


def _lesion(folder: Path, options: ImageOptions, notify: Notify) -> "tuple[list[Any], list[str]]":
    """Return the parts of the page on a lesion, or why there are none: maps that are fitted are not lost by it."""
    if options.lesion is None:
        return [], []
    try:
        return region_verbs.lesion_of(folder, options.lesion, notify=notify)[2], []
    except DataError as error:
        return [], [f"the lesion is not compared: {error}"]


def clean(
    scan: "Scan", options: ImageOptions, notify: Notify = silent
) -> "tuple[Scan, NDArray[np.bool_] | None, tuple[str, ...]]":
    """Return an image without residual water and scalp lipid, the brain on its grid where it is found, and notices.

    What is recorded as done is not done again. Without a water reference and a mask nothing shows where the brain is:
    water is then removed as voxels are fitted, and lipid stays.
    """
    from pulsespec.recon.image_cleaning import CleaningSettings, clean_images

    image = scan.metabolite
    assert image is not None
    if image.nucleus != "1H" or min(sorted(image.data.shape[:3])[1:]) < _LEAST_GRID:
        return scan, None, ()
    if scan.water is None and options.mask is None:
        return scan, None, ("no water reference and no mask: scalp lipid, if there is any, is not removed",)
    water, lipid = (
        not without_water(image),
        options.lipid_removal and not was_done(image, "Lipid removal", ""),
    )
    settings = CleaningSettings(water_removal=water, lipid_removal=lipid, brain_mask=options.mask)
    try:
        found = clean_images(scan, settings, jobs=options.jobs)
    except DataError as error:
        if options.mask is not None:
            raise
        return scan, None, (f"scalp lipid, if there is any, is not removed: {error}",)
    assert found.scan.metabolite is not None
    for record in found.scan.metabolite.records[len(image.records) :]:
        notify(record.details)
    return found.scan, None if options.mask is not None else found.masks.brain, ()


def matched_image(scan: "Scan", chosen: "Chosen", basis: Any) -> "tuple[Scan, Any, tuple[str, ...]]":
    """Return the image as it can be fitted, the basis with macromolecules, and notices.

    What holds for the whole image (nucleus, field, times, the functions) is compared once. Whether it is mirrored or
    lies elsewhere is judged on a few voxels with much metabolite and little lipid: most of them must say so.

    Raises
    ------
    MismatchError
        Data and basis do not belong together.
    DataError
        The image is mirrored though its format defines the sign.

    """
    from pulsespec.recon.guard_basis import compare
    from pulsespec.recon.guard_functions import cut
    from pulsespec.recon.guard_place import check_place, find_place
    from pulsespec.simulator.broad_phase import lines_for

    image = scan.metabolite
    assert image is not None
    notices = compare(image, basis)
    image, shortened = cut(image, basis)
    turned: tuple[str, ...] = ()
    if image.nucleus == "1H":
        some = [_single(image, at) for at in witnesses(image, chosen)]
        if not some:
            turned = (
                "lipid hides the metabolites in all voxels: whether the image is mirrored is not checked",
            )
        away = [one for one in some if find_place(one, basis).is_elsewhere]
        if away and 2 * len(away) > len(some):
            one, turned = check_place(away[0], basis)
            image = image.with_data(image.data.conj(), one.records[-1])
    if not basis.broad:
        basis = basis.with_broad(lines_for(basis))
    return dataclasses.replace(scan, metabolite=image), basis, (*notices, *shortened, *turned)


def witnesses(image: "Transients", chosen: "Chosen") -> "list[NDArray[np.intp]]":
    """Return where voxels lie that show best what the image is of: much metabolite, little lipid.

    They are spread over the half with less lipid: those with least lie where the slab, which moves with the frequency,
    has lost all that is upfield. Bands are taken on both sides of the receiver's centre alike, so that a mirrored image
    is judged on the same voxels. Where there is more lipid than all else, it would be taken for metabolites elsewhere:
    there are no witnesses.
    """
    from pulsespec.conventions import ppm_axis, to_spectrum

    ppm = np.abs(
        ppm_axis(image.samples, image.dwell_s, image.f0_hz, image.reference_ppm) - image.reference_ppm
    )
    sizes = []
    for first in range(0, len(chosen.index), 512):
        spectra = np.abs(to_spectrum(image.data[tuple(chosen.index[first : first + 512].T)]))
        sizes.append(
            [spectra[:, (ppm > low) & (ppm < high)].sum(axis=1) for low, high in ((1.2, 2.8), (2.9, 4.2))]
        )
    metabolite, lipid = np.concatenate(sizes, axis=1)
    strong = np.flatnonzero(metabolite >= np.median(metabolite))
    share = lipid[strong] / np.maximum(metabolite[strong], 1e-300)
    some = np.argsort(share, kind="stable")[: -(-strong.size // 2)]
    some = some[share[some] < _MOST_LIPID]
    ranks = ((np.arange(_WITNESSES) + 0.5) / _WITNESSES * some.size).astype(int)
    return [chosen.index[k] for k in strong[some[np.unique(ranks[ranks < some.size])]]]


def _single(image: "Transients", at: "NDArray[np.intp]") -> "Transients":
    """Return the FID of one voxel, water removed, dims ("t",)."""
    from pulsespec.recon.water_removal import remove_water

    one = image.with_data(image.data[tuple(at)].astype(np.complex128), drop=SPACE)
    return one if without_water(image) else remove_water(one)


def without_water(image: "Transients") -> bool:
    """Return whether residual water was removed already, by what was recorded."""
    return was_done(image, "Nuisance peak removal", "water")


def was_done(image: "Transients", method: str, start: str) -> bool:
    """Return whether a step whose details start with some words was recorded."""
    steps = [(record.method, record.details) for record in image.records]
    steps += [
        (str(step.get("Method", "")), str(step.get("Details", "")))
        for step in image.header.get("processing_applied", ())
    ]
    return any(name == method and words.startswith(start) for name, words in steps)


def _fractions(
    image: "Transients", chosen: "Chosen", assumptions: "QuantifySettings"
) -> "tuple[NDArray[np.float64] | None, tuple[str, ...]]":
    """Return the tissue of each chosen voxel, shape (v, 3), from the segmentation, where one is named."""
    from pulsespec.recon.blurred_fractions import blur_of, blurred_fractions
    from pulsespec.recon.image_grid import grid_of, placed
    from pulsespec.recon.segmentation import read_segmentation
    from pulsespec.recon.voxel_fractions import voxel_fractions

    if assumptions.segmentation is None:
        return None, ()
    segmentation = read_segmentation(assumptions.segmentation)
    geometry = placed(image, "a segmentation")
    blur = blur_of(image)
    if blur is None:
        found = voxel_fractions(geometry, segmentation, grid_of(image))
        how = (
            f"tissue fractions of each voxel are those of its box in {segmentation.name}: the file does not say how "
            "its k-space was sampled, so what the point-spread function brings in from neighbours is not in them"
        )
    else:
        found = blurred_fractions(geometry, segmentation, grid_of(image), blur)
        how = f"tissue fractions are those of {segmentation.name} through the point-spread function of {blur.words}"
    at = tuple(chosen.index.T)
    whole, inside = found.whole[at], found.inside[at]
    if not (inside > 0).any():
        raise DataError(f"{segmentation.name}: the image lies wholly outside it; is it of the same session?")
    words = [*segmentation.notices]
    bare = int(np.count_nonzero(~np.isfinite(whole[:, 0])))
    outside = int(np.count_nonzero(inside < 0.5))
    if bare:
        words.append(
            f"{segmentation.name}: {bare} of {len(whole)} voxels hold no tissue: without concentrations"
        )
    if outside:
        words.append(f"{segmentation.name}: {outside} of {len(whole)} voxels lie more than half outside it")
    words.append(how)
    return whole, tuple(words)


def _assumed(assumptions: "QuantifySettings", count: int) -> "NDArray[np.float64]":
    return np.tile([assumptions.gm, assumptions.wm, assumptions.csf], (count, 1))


def _plan(
    scan: "Scan", basis: Any, assumptions: "QuantifySettings", segmented: bool, options: ImageOptions
) -> "tuple[Plan, tuple[str, ...]]":
    """Return how blocks are fitted, and what is to be said of the scale."""
    from pulsespec.recon.fit import FitSettings
    from pulsespec.recon.image_fit import Plan
    from pulsespec.recon.image_scale import image_scale
    from pulsespec.recon.plane_basis import plane_basis
    from pulsespec.recon.played_signs import either_sign
    from pulsespec.recon.priors import IN_LESIONS

    image = scan.metabolite
    assert image is not None
    how = FitSettings(
        t2_widths=not options.phantom, metabolite_priors=not options.phantom, without_prior=IN_LESIONS
    )
    if not assumptions.relaxation:
        how = dataclasses.replace(how, t2_widths=False)
    how = dataclasses.replace(how, **options.limits)
    scale = image_scale(basis.names, image, scan.water, basis, assumptions, segmented, options.sequence)
    words = (scale,) if isinstance(scale, str) else scale.words
    if options.sequence is not None and image.nucleus == "1H":
        signed, said = either_sign(options.sequence, basis.broad, image.f0_hz)
        how, words = dataclasses.replace(how, signed=signed), (*words, *([said] if signed else []))
    nothing = np.zeros((1, 1, 1, image.samples), dtype=np.complex64)
    like = dataclasses.replace(image, data=nothing, header={}, records=(), noise=None)
    planes = None if options.sequence is None else plane_basis(options.sequence, basis, image)
    return (
        Plan(
            like,
            basis,
            how,
            not without_water(image),
            None if isinstance(scale, str) else scale,
            planes=planes,
        ),
        words,
    )


def _doubts(maps: "Maps", image: "Transients") -> list[str]:
    """Return a word on each thing that the maps do not show."""
    from pulsespec.recon.image_tables import VERDICTS
    from pulsespec.recon.map_quality import shares_of

    found, said = maps.found, []
    total = len(found.index)
    for number, words in VERDICTS.items():
        count = int(np.count_nonzero(found.voxel["verdict"] == number))
        if number and count:
            said.append(f"{count} of {total} voxels have no numbers: {words}")
    shares = shares_of(maps.bits)
    if shares["passing"] < 1:
        why = ", ".join(
            f"{words} {share:.0%}" for words, share in shares.items() if share and words != "passing"
        )
        said.append(f"{shares['passing']:.0%} of {total} voxels pass the quality mask; others fail by: {why}")
    if image.geometry is None:
        said.append(f"{image.source or 'image'}: says no position in the scanner; maps have none")
    if found.left_out:
        said.append(f"not fitted, as their signal lies outside the fitted range: {', '.join(found.left_out)}")
    return said


def _result(
    maps: "Maps",
    scan: "Scan",
    basis: Any,
    plan: "Plan",
    settings: Mapping[str, Any],
    chosen: "Chosen",
    warnings: Sequence[str],
) -> dict[str, Any]:
    from pulsespec.recon.map_quality import limits, shares_of
    from pulsespec.recon.maps import summary

    image = scan.metabolite
    assert image is not None
    found = maps.found
    return {
        "program": {"name": "pulsespec", "version": pulsespec.__version__},
        "settings": dict(settings),
        "data": {
            "source": image.source,
            "grid": list(found.shape),
            "affine": None if image.geometry is None else image.geometry.affine,
            "f0_mhz": image.f0_hz * 1e-6,
            "te_ms": None if image.te_s is None else image.te_s * 1e3,
            "tr_ms": None if image.tr_s is None else image.tr_s * 1e3,
            "samples": image.samples,
            "dwell_s": image.dwell_s,
        },
        "basis": commands.describe(basis) | {"provenance": dict(basis.provenance)},
        "fit_settings": dataclasses.asdict(plan.settings),
        "quantification": None if plan.scale is None else plan.scale.settings,
        "water_removed_here": plan.water_removal,
        "rows": list(found.rows),
        "linewidth_of": found.linewidth_of,
        "quality_limits": {name: dict(entry) for name, entry in limits().items()},
        "voxels": {
            "chosen": chosen.words,
            "fitted": len(found.index),
            "believed": int(maps.believed.sum()),
            "passing": int(maps.passing.sum()),
            "shares": shares_of(maps.bits),
        },
        "medians": summary(maps),
        "warnings": list(warnings),
        "steps": [{"method": r.method, "details": r.details, "time": r.time} for r in image.records],
    }


def shown_voxels(found: "ImageFit", passing: "NDArray[np.bool_]") -> list[int]:
    """Return voxels whose spectra are shown: quantiles of SNR among those that pass, and the worst that does not."""
    snr = np.nan_to_num(found.voxel["best_snr"])
    good = np.flatnonzero(passing)
    order = good[np.argsort(snr[good], kind="stable")]
    shown = (
        []
        if not order.size
        else order[np.linspace(0, order.size - 1, min(_SHOWN - 1, order.size)).astype(int)][::-1].tolist()
    )
    bad = np.flatnonzero(~passing)
    if bad.size:
        shown.append(int(bad[np.argsort(snr[bad], kind="stable")[bad.size // 2]]))
    return list(dict.fromkeys(int(k) for k in shown))


def _report(
    maps: "Maps",
    scan: "Scan",
    plan: "Plan",
    more: Sequence[Any],
    result: Mapping[str, Any],
    path: Path,
) -> None:
    from pulsespec.recon.image_fit import fit_one
    from pulsespec.recon.map_pictures import voxel_picture
    from pulsespec.recon.maps_report import Page, Part, metabolite_parts, write_page

    image = scan.metabolite
    assert image is not None
    fits = []
    for k in shown_voxels(maps.found, maps.passing):
        at = maps.found.index[k]
        snr, width = maps.found.voxel["snr"][k], maps.found.voxel["linewidth"][k]
        verdict = "passes" if maps.passing[k] else "does not pass"
        title = f"voxel {', '.join(map(str, at))}: SNR {snr:.0f}, {width:.1f} Hz, {verdict}"
        fits.append((title, fit_one(plan, image.data[tuple(at)], int(at[2])).one(0)))
    voxels = result["voxels"]
    figures = {
        "voxels fitted": voxels["fitted"],
        "pass the quality mask": f"{voxels['shares']['passing']:.0%}",
        "median SNR of NAA": float(np.median(maps.found.voxel["snr"])),
        "median linewidth / Hz": float(np.nanmedian(maps.found.voxel["linewidth"])),
    }
    page = Page(
        image.source or "image",
        [
            *metabolite_parts(maps),
            *more,
            Part(
                "Single voxels",
                voxel_picture(fits),
                note="From the best to the worst SNR that passes, then one that does not.",
            ),
            Part("Medians over voxels that pass", table=result["medians"]),
        ],
        figures,
        result["warnings"],
        image.records,
        {
            key: result[key]
            for key in ("program", "settings", "data", "basis", "quantification", "fit_settings")
        },
    )
    write_page(page, path)
