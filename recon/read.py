"""Reading raw data and spectra, whatever their format: recognised by content."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError
from pulsespec.recon.editing import from_definitions
from pulsespec.recon.formats import Format, Known, format_of
from pulsespec.recon.guard_centre import check_centre
from pulsespec.recon.guards import check_sense, water_over_metabolites
from pulsespec.recon.references import with_references
from pulsespec.recon.sequence_header import sequence_facts
from pulsespec.recon.sorting import SORTED, facts_of
from pulsespec.recon.transients import Record, Scan, Transients
from pulsespec.recon.voxel_check import check_voxel
from pulsespec.simulator.timeline import read_played

_WATER_PPM = (4.2, 5.2)
_METABOLITES_PPM = (1.8, 3.6)
_WATER_OVER_METABOLITES = 100.0
_WATER_ALONE = 15.0
_MOST_SHOTS = 16
_BELL_S = 0.25
_CONTRAST = 5.0
_CHOICE = "Selection of the water reference"
_LARGEST = 1e15
"""No receiver writes larger numbers, and sums of their squares are numbers still, in single precision too."""

Kinds = tuple[Transients | None, Transients | None]


def read(
    paths: Sequence[Path], *, conjugate: bool = False, known: Known | None = None, water: Path | None = None
) -> Scan:
    """Read one scan from one or more files.

    Parameters
    ----------
    paths
        Files of the same voxel: metabolite data and, in the same file or others, water references. A file
        is a water reference if it says so, or if its water is a hundred times its metabolites, the tails of
        water apart; of two files of the same sort, one with five times the
        water of the other.
        Of several references each is used where it serves best (see `references.with_references`).
    conjugate
        Conjugate the data first, for files that are wrong about their sign.
    known
        What the user knows beside the files, such as the `.seq` that was played.
    water
        A further file that is the water reference whatever it looks like; then `paths` are metabolite data unless
        their headers say otherwise.

    Raises
    ------
    DataError
        A file is damaged or of unknown format, the sign is contradicted, there is more than one set of
        metabolite data, or several water references without metabolites.

    """
    known = known or Known()
    scans = _read_all([Path(path) for path in paths], known)
    kinds = [_kinds(scan) for scan in scans]
    if water is not None:
        kinds = [_as_named(one) for one in kinds]
        kinds += [(None, scan.metabolite or scan.water) for scan in _read_all([Path(water)], known)]
    elif len(kinds) == 2:
        kinds = _by_contrast(*kinds)
    metabolites = [m for m, _ in kinds if m is not None]
    waters = [w for _, w in kinds if w is not None]
    for found, what, most in (
        (metabolites, "metabolite data", 1),
        (waters, "a water reference", len(waters) if metabolites else 1),
    ):
        if len(found) > most:
            names = ", ".join(data.source for data in found)
            raise DataError(f"{names}: each is {what}, expected one of them")
    if not metabolites:
        return Scan(None, waters[0] if waters else None)
    metabolite = check_centre(check_sense(metabolites[0], conjugate))
    if _was_conjugated(metabolite):
        waters = [replace(water, data=water.data.conj()) for water in waters]
    return with_references(metabolite, waters) if waters else Scan(metabolite)


def _was_conjugated(data: Transients) -> bool:
    return any(record.method == "Conjugation" for record in data.records)


def _check_numbers(data: Transients | None) -> None:
    """Raise `DataError` where times or samples are no numbers, or so large that the file must be damaged."""
    if data is None:
        return
    for name, value in (("dwell time", data.dwell_s), ("spectrometer frequency", data.f0_hz)):
        if not 0 < value < _LARGEST:
            raise DataError(f"{data.source}: {name} is {value}, expected a number above 0: damaged")
    for shot in np.ndindex(data.data.shape[:-1]):  # a whole array that is reshaped may be copied
        fid = data.data[shot]
        largest = float(np.maximum(*(np.abs(part).max(initial=0.0) for part in (fid.real, fid.imag))))
        if not np.isfinite(largest):
            raise DataError(f"{data.source}: has values that are not finite numbers: damaged")
        if largest > _LARGEST:
            raise DataError(f"{data.source}: has values up to {largest:.1g}: damaged")


def _read_all(paths: Sequence[Path], known: Known) -> list[Scan]:
    """Return the scan of each file; files that may be parts of one scan are read together."""
    forms = [format_of(path) for path in paths]
    scans = []
    for form in dict.fromkeys(forms):
        ours = [path for path, other in zip(paths, forms, strict=True) if other is form]
        if form.read_together is not None and len(ours) > 1:
            scans += [_timed(scan, known.sequence) for scan in form.read_together(ours)]
        else:
            scans += [_read_one(path, form, known) for path in ours]
    return scans


def _read_one(path: Path, form: Format, known: Known) -> Scan:
    beside = path.with_suffix(".seq")
    if known.sequence is None and form.needs_sequence(path) and beside.is_file():
        record = Record("Sequence", f"{beside.name}, found beside the data")
        scan = _timed(form.read(path, replace(known, sequence=beside)), beside)
        return Scan(_noted(scan.metabolite, record), _noted(scan.water, record))
    return _timed(form.read(path, known), known.sequence)


def _noted(data: Transients | None, record: Record) -> Transients | None:
    return None if data is None else replace(data, records=(record, *data.records))


def _timed(scan: Scan, sequence: Path | None) -> Scan:
    """Return a sound scan with what the `.seq` knows better: name, TE, TR and the receiver's centre.

    Readouts that were sorted by the sequence have it already.
    """
    for part in (scan.metabolite, scan.water):
        _check_numbers(part)
    if sequence is None:
        return scan
    data = scan.metabolite or scan.water
    assert data is not None
    played = read_played(sequence, data.f0_hz)
    scheme = from_definitions(played.definitions)
    editing = {} if scheme is None else {"editing": scheme}

    def timed(part: Transients | None, is_water: bool) -> Transients | None:
        if part is None:
            return None
        part = replace(part, header={**part.header, **editing, **sequence_facts(sequence, played)})
        if any(record.method == SORTED for record in part.records):
            return part
        known = replace(part, **facts_of(played, is_water, part.f0_hz, part.te_s, part.tr_s))
        return check_voxel(known, played, sequence.name)

    return Scan(timed(scan.metabolite, False), timed(scan.water, True))


def _kinds(scan: Scan) -> tuple[Transients | None, Transients | None]:
    """Return metabolite and water of a file, told apart by content where it holds one kind alone."""
    data, water = scan.metabolite, scan.water
    if (
        data is None
        or not is_water(data)
        or (water is not None and _height(data) < _height(water) / _CONTRAST)
    ):
        return data, water
    if water is None:
        return None, data
    record = Record(_CHOICE, "no shot is water-suppressed; what is flagged as a reference is left out")
    return None, _noted(data, record)


def _as_named(kinds: Kinds) -> Kinds:
    """Return what looks like water, but whose header does not say so, as the metabolite data it was named as."""
    metabolite, water = kinds
    if metabolite is not None or water is None or water.header.get("water_suppressed") is not None:
        return kinds
    words = "looks like water, but another file was named as the water reference: taken for metabolite data"
    return _noted(water, Record(_CHOICE, words)), None


def _height(data: Transients) -> float:
    """Return how strong the beginning of a mean FID is, coils as the square root of their squares."""
    kept = tuple(axis for axis, name in enumerate(data.dims) if name not in ("coil", "t"))
    mean = data.data.mean(axis=kept, dtype=np.complex128)
    return float(np.linalg.norm(np.abs(mean).max(axis=-1)))


def is_water(data: Transients) -> bool:
    """Return whether data are an unsuppressed water reference: the header says so, or water dwarfs all else."""
    said = data.header.get("water_suppressed")
    if said is not None:
        return not said
    if data.nucleus != "1H":
        return False
    dominance = water_dominance(data)
    if dominance > _WATER_OVER_METABOLITES:
        return True
    return dominance > _WATER_ALONE and water_over_metabolites(data) > _WATER_OVER_METABOLITES


def _by_contrast(first: Kinds, second: Kinds) -> list[Kinds]:
    """Return two files as metabolite and water where both looked alike but one has far more water.

    Of two files with reference shots of their own, the one without water suppression is the reference.
    """
    pair = [next(part for part in kinds if part is not None) for kinds in (first, second)]
    said = any(part.header.get("water_suppressed") is not None for part in pair)
    if said or (first[0] is None) != (second[0] is None):
        return [first, second]
    ratio = water_dominance(pair[1]) / water_dominance(pair[0])
    if ratio > _CONTRAST:
        return [(pair[0], first[1] if first[0] is not None else None), (None, pair[1])]
    if ratio < 1 / _CONTRAST:
        return [(None, pair[0]), (pair[1], second[1] if second[0] is not None else None)]
    return [first, second]


def water_dominance(data: Transients) -> float:
    """Return the height of water over that of anything between 1.8 and 3.6 ppm, or in the mirror of that.

    A sine bell over the first quarter of a second keeps the tails of water out of that range.
    """
    n = min(data.samples, max(16, round(_BELL_S / data.dwell_s)))
    bell = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    shots = list(np.ndindex(data.data.shape[:-2])) if data.data.ndim > 1 else [()]
    shots = shots[:: -(-len(shots) // _MOST_SHOTS)]
    magnitude = np.zeros(data.samples)
    for index in shots:
        shaped = np.zeros((*data.data[index].shape[:-1], data.samples), dtype=np.complex128)
        shaped[..., :n] = data.data[index][..., :n] * bell
        magnitude += np.abs(to_spectrum(shaped)).reshape(-1, data.samples).mean(axis=0)
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    water = magnitude[(ppm > _WATER_PPM[0]) & (ppm < _WATER_PPM[1])].max(initial=0.0)
    away = np.abs(ppm - np.mean(_WATER_PPM))
    near, far = (np.mean(_WATER_PPM) - edge for edge in reversed(_METABOLITES_PPM))
    beside = (away > near) & (away < far)
    if not beside.any():
        return 1.0  # too short to tell
    rest = magnitude[beside].max(initial=0.0)
    return float(water / max(rest, 1e-300))
