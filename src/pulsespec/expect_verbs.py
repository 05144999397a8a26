"""Expected spectra on the command line, and the table of tissues."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsespec.commands import require_file, require_picture
from pulsespec.console import Notify, silent, to_json
from pulsespec.errors import InputError
from pulsespec.files import atomic_path, refuse_existing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pulsespec.recon.transients import Transients
    from pulsespec.simulator import Basis
    from pulsespec.simulator.expect import Quality
    from pulsespec.simulator.scene import Contents, Scene
    from pulsespec.simulator.training import Distributions


def list_tissues() -> list[dict[str, Any]]:
    """Return what the shipped tissues are, one row each."""
    from pulsespec.simulator.tissue import assumed
    from pulsespec.simulator.tissue_library import list_tissues, load_tissue

    rows = []
    for tissue in map(load_tissue, list_tissues()):
        rows.append(
            {
                "name": tissue.name,
                "description": tissue.description,
                "metabolites": len(tissue.concentrations),
                "fields_t": ", ".join(f"{field:g}" for field in sorted(tissue.relaxation)),
                "assumed": ", ".join(assumed(tissue)),
            }
        )
    return rows


def describe_tissue(name: str) -> dict[str, Any]:
    """Return everything that the table holds of one tissue, with its sources."""
    from pulsespec.simulator.tissue import used_sources
    from pulsespec.simulator.tissue_library import load_tissue

    tissue = load_tissue(name)
    return dataclasses.asdict(dataclasses.replace(tissue, sources=used_sources(tissue), sums={}, aliases={}))


@dataclasses.dataclass(frozen=True)
class Scan:
    """What was asked for of the scan; `None` is the default of a spectrum, or drawn in a training set."""

    lorentz_hz: float | None = None
    gauss_hz: float | None = None
    snr: float | None = None
    residual_water: float | None = None
    baseline: float | None = None
    phase_deg: float | None = None
    shift_hz: float | None = None

    def quality(self) -> "Quality":
        """Return it for one spectrum, where what is not given is absent."""
        from pulsespec.simulator.expect import Quality

        return Quality(**{key: value for key, value in dataclasses.asdict(self).items() if value is not None})

    def distributions(self, f0_hz: float, base: Path | None = None) -> "Distributions":
        """Return it for a training set, where what is not given is drawn, as the file `base` says if any."""
        from pulsespec.simulator.training import Distributions
        from pulsespec.simulator.training_file import read_distributions

        given = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        if "shift_hz" in given:
            given["shift_ppm"] = given.pop("shift_hz") / f0_hz * 1e6
        fixed: dict[str, Any] = {
            key: (value, 0.0) if key in ("phase_deg", "shift_ppm") else (value, value)
            for key, value in given.items()
        }
        drawn = Distributions() if base is None else read_distributions(base)
        return dataclasses.replace(drawn, **fixed)


def scene_of(
    basis: Path,
    tissue: str,
    amounts: Mapping[str, float] | None = None,
    *,
    samples: int | None = None,
    strict: bool = False,
) -> tuple["Scene", "Basis"]:
    """Return what all spectra of a tissue through a basis file have in common, and the basis."""
    from pulsespec.simulator import Basis
    from pulsespec.simulator.scene import prepare
    from pulsespec.simulator.tissue_library import load_tissue, with_amounts

    require_file(basis)
    loaded = Basis.read(basis)
    chosen = with_amounts(load_tissue(tissue), amounts or {})
    return prepare(loaded, chosen, samples=samples, strict=strict), loaded


def expect(
    basis: Path,
    tissue: str,
    output: Path,
    *,
    scan: Scan | None = None,
    amounts: Mapping[str, float] | None = None,
    samples: int | None = None,
    seed: int = 0,
    water: Path | None = None,
    picture: Path | None = None,
    strict: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    notify: Notify = silent,
) -> dict[str, Any]:
    """Write the expected spectrum of a tissue as NIfTI-MRS, with the truth as JSON beside it.

    Parameters
    ----------
    basis
        Basis file (.h5) of a sequence; its field, TE and TR hold for the spectrum.
    tissue
        A name of `list_tissues`.
    output
        NIfTI-MRS file; the truth has its name with `.truth.json` for the suffix.
    scan
        Linewidth, SNR, residual water, baseline, phase and shift; nothing is added by default.
    amounts
        Concentrations in mM that replace those of the tissue.
    samples
        Points; those of the basis by default.
    seed
        Of noise, residual water and baseline.
    water
        File for the unsuppressed water of the same voxel, as a reference for mM.
    picture
        File for a drawing of the spectrum.
    strict
        Whether a metabolite that the basis lacks is an error.

    """
    from pulsespec.recon.nifti import write_nifti
    from pulsespec.simulator.expect import water_fid

    truth_path = truth_of(output)
    for path in (output, truth_path, *(p for p in (water, picture) if p is not None)):
        refuse_existing(path, overwrite)
    if picture is not None:
        require_picture(picture)
    scene, loaded = scene_of(basis, tissue, amounts, samples=samples, strict=strict)
    quality = (scan or Scan()).quality()
    for word in scene.warnings:
        notify(f"warning: {word}")
    made = {"output": str(output), "truth": str(truth_path), "warnings": list(scene.warnings)}
    fid = single(scene, quality, seed)
    if dry_run:
        return made
    write_nifti(transients(scene, loaded, fid), output, overwrite)
    _write_text(truth_path, to_json(truth(scene, loaded, scene.contents(), quality, seed)), overwrite)
    if water is not None:
        write_nifti(transients(scene, loaded, water_fid(scene, quality)), water, overwrite)
    if picture is not None:
        _draw(scene, fid, quality, picture, overwrite)
    return made


def truth_of(output: Path) -> Path:
    """Return where the truth of a NIfTI-MRS file goes; `InputError` where `output` has another suffix."""
    for suffix in (".nii.gz", ".nii"):
        if output.name.endswith(suffix):
            return output.with_name(output.name.removesuffix(suffix) + ".truth.json")
    raise InputError(f"{output}: expected a name that ends in .nii.gz or .nii")


def single(scene: "Scene", quality: "Quality", seed: int) -> "NDArray[np.complex128]":
    """Return the expected FID of the mean of a tissue; shape (samples,)."""
    import numpy as np

    from pulsespec.simulator.expect import draw_accidents, expected_fid

    if seed < 0:
        raise InputError(f"--seed: got {seed}, expected at least 0")
    accidents = draw_accidents(scene, np.random.default_rng(seed))
    return expected_fid(scene, scene.contents(), quality, accidents)


def truth(
    scene: "Scene", basis: "Basis", contents: "Contents", quality: "Quality", seed: int
) -> dict[str, Any]:
    """Return what went into one spectrum, as JSON takes it."""
    from pulsespec.simulator.training_file import facts

    weights = scene.weights(contents.t2_s)
    columns = (
        scene.names,
        contents.concentrations_mm,
        weights,
        contents.t2_s,
        contents.shift_hz,
        scene.amounts,
    )
    components = {
        name: {
            "concentration_mm": float(mm),
            "weight": float(weight),
            "t2_s": float(t2_s),
            "shift_hz": float(shift_hz),
            "source": amount.source,
        }
        for name, mm, weight, t2_s, shift_hz, amount in zip(*columns, strict=True)
    }
    gauss_hz = scene.gauss_hz if quality.gauss_hz is None else quality.gauss_hz
    scan = dataclasses.asdict(dataclasses.replace(quality, gauss_hz=gauss_hz))
    return facts(scene, basis, seed) | {"scan": scan, "components": components}


def transients(scene: "Scene", basis: "Basis", fid: "NDArray[np.complex128]") -> "Transients":
    """Return an FID with what NIfTI-MRS says of it."""
    from pulsespec.recon.transients import Transients

    return Transients(
        data=fid,
        dims=("t",),
        dwell_s=scene.dwell_s,
        f0_hz=scene.f0_hz,
        nucleus=basis.nucleus,
        te_s=basis.te_s,
        tr_s=basis.tr_s,
        reference_ppm=scene.reference_ppm,
        sequence=basis.sequence,
        source=scene.tissue.name,
    )


def _write_text(path: Path, text: str, overwrite: bool) -> None:
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _draw(
    scene: "Scene", fid: "NDArray[np.complex128]", quality: "Quality", path: Path, overwrite: bool
) -> None:
    """Draw the real spectrum, its phase undone, from 4.5 to 0 ppm."""
    import numpy as np
    from matplotlib.figure import Figure

    from pulsespec.conventions import ppm_axis, to_spectrum

    samples = 4 * fid.size
    filled = np.concatenate([fid[:1] / 2, fid[1:], np.zeros(samples - fid.size)])
    values = (to_spectrum(filled) * np.exp(-1j * np.deg2rad(quality.phase_deg))).real
    ppm = ppm_axis(samples, scene.dwell_s, scene.f0_hz, scene.reference_ppm)
    shown = (ppm > 0.0) & (ppm < 4.5)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(ppm[shown], values[shown], color="black", linewidth=0.9)
    axes.set(xlim=(4.5, 0.0), xlabel="ppm", yticks=[], title=_title(scene))
    with atomic_path(path, overwrite) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=130)


def _title(scene: "Scene") -> str:
    return f"{scene.tissue.name}, {scene.f0_hz * 1e-6:.1f} MHz, TE {scene.te_s * 1e3:.0f} ms"


def parse_amounts(stated: Sequence[str]) -> dict[str, float]:
    """Return concentrations that are stated as NAME=MM."""
    found = {}
    for text in stated:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not name or not 0 <= value < float("inf"):
            raise InputError(f"--set: got {text!r}, expected NAME=MM with a number of at least 0")
        found[name] = value
    return found


def tissue_json(name: str | None) -> Any:
    """Return the table of tissues, or one of them, as JSON takes it."""
    from pulsespec.simulator.tissue_library import list_tissues as names

    wanted = names() if name is None else [name]
    return json.loads(to_json([describe_tissue(one) for one in wanted]))
