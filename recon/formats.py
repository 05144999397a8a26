"""The file formats that can be read, each recognised by what is in the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsespec.errors import DataError
from pulsespec.recon.arrays import is_array, read_arrays
from pulsespec.recon.bruker import is_bruker, read_bruker
from pulsespec.recon.ge_pfile import is_pfile, read_pfile
from pulsespec.recon.known import Known as Known
from pulsespec.recon.mrd import is_mrd, read_mrd
from pulsespec.recon.nifti import is_nifti, read_nifti
from pulsespec.recon.philips_dicom import is_philips_dicom, read_philips_dicom
from pulsespec.recon.philips_list import is_philips_list, read_philips_list
from pulsespec.recon.rda import is_rda, read_rda
from pulsespec.recon.sdat import is_sdat, read_sdat
from pulsespec.recon.siemens_dicom import is_siemens_dicom, read_siemens_dicom, read_siemens_series
from pulsespec.recon.text_data import (
    is_columns,
    is_jmrui_text,
    is_lcmodel_raw,
    read_columns,
    read_jmrui,
    read_lcmodel_raw,
)
from pulsespec.recon.transients import Scan
from pulsespec.recon.twix import is_twix, played_by_pulseq, read_twix
from pulsespec.recon.varian import is_varian, read_varian
from pulsespec.simulator.timeline import Played, read_played


@dataclass(frozen=True)
class Format:
    """One file format: how it is recognised and read."""

    name: str
    """What its users call it."""
    recognises: Callable[[Path], bool]
    """Whether a file is of this format, from its content; raises only `OSError`."""
    read: Callable[[Path, Known], Scan]
    """Read a file; a damaged one, or one that needs what is not known, is a `DataError`."""
    folders: bool = False
    """Whether it is kept as a folder, which `recognises` and `read` then take as well as a file in it."""
    read_together: Callable[[Sequence[Path]], list[Scan]] | None = None
    """Read several files, of which some may be parts of one scan."""
    needs_sequence: Callable[[Path], bool] = lambda _: False
    """Whether only the `.seq` that was played says what a file of this format holds."""


def _played(known: Known) -> tuple[Played | None, str]:
    """Return what the `.seq` says, if there is one, and its name."""
    if known.sequence is None:
        return None, ""
    return read_played(known.sequence, known.f0_hz), known.sequence.name


FORMATS = (
    Format("Philips SDAT/SPAR", is_sdat, lambda path, _: Scan(read_sdat(path))),
    Format("Philips data/list", is_philips_list, read_philips_list),
    Format("Philips DICOM", is_philips_dicom, lambda path, _: read_philips_dicom(path)),
    Format(
        "NIfTI-MRS",
        is_nifti,
        lambda path, known: Scan(read_nifti(path, known.keep_identifiers, known.series, known.dimension)),
    ),
    Format("Siemens RDA", is_rda, lambda path, _: Scan(read_rda(path))),
    Format(
        "Siemens DICOM",
        is_siemens_dicom,
        lambda path, _: Scan(read_siemens_dicom(path)),
        read_together=lambda paths: [Scan(data) for data in read_siemens_series(paths)],
    ),
    Format("jMRUI text", is_jmrui_text, read_jmrui),
    Format("LCModel RAW", is_lcmodel_raw, read_lcmodel_raw),
    Format("Bruker ParaVision", is_bruker, lambda path, _: read_bruker(path), folders=True),
    Format("Varian", is_varian, lambda path, _: read_varian(path), folders=True),
    Format("GE P-file", is_pfile, lambda path, _: read_pfile(path)),
    Format("ISMRMRD", is_mrd, lambda path, known: read_mrd(path, *_played(known))),
    Format(
        "Siemens twix",
        is_twix,
        lambda path, known: read_twix(path, *_played(known)),
        needs_sequence=played_by_pulseq,
    ),
    Format(
        "Array of samples",
        is_array,
        lambda path, known: read_arrays(path, *_played(known), known.f0_hz),
        needs_sequence=lambda _: True,
    ),
    Format("columns of numbers", is_columns, read_columns),
)
"""All of them, the surest mark first: a format that is recognised by little stands last."""


_DAMAGE = (OSError, EOFError, RuntimeError, LookupError, ValueError)
"""What libraries raise on opening damaged files, h5py above all."""


def format_of(path: Path) -> Format:
    """Return the format of a file, or of a folder that holds one scan.

    Raises
    ------
    DataError
        There is no such file, it is empty or damaged, or no format recognises it.

    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    candidates = [form for form in FORMATS if form.folders or not path.is_dir()]
    try:
        found = next((form for form in candidates if form.recognises(path)), None)
    except _DAMAGE as error:
        raise DataError(f"{path}: cannot be opened as any format, a damaged file ({error})") from error
    if found is None:
        raise DataError(
            f"{path}: format not recognised, expected one of {', '.join(form.name for form in candidates)}"
        )
    return found
