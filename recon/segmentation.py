"""Segmentations of an image into grey matter, white matter and CSF: three maps of shares, or one of labels."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pulsespec.errors import DataError, InputError
from pulsespec.files import attempt
from pulsespec.recon.constants import TISSUES

_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_TEMPLATE = {3: "Talairach", 4: "MNI"}
_FAST_LARGEST = 3
_ABOVE_ONE = 1.02
_SAME_PLACE_MM = 1e-2


class Labels(BaseModel):
    """Which labels are which tissue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gm: list[int | Annotated[str, Field(pattern=r"^\d+-\d+$")]]
    wm: list[int | Annotated[str, Field(pattern=r"^\d+-\d+$")]]
    csf: list[int | Annotated[str, Field(pattern=r"^\d+-\d+$")]]
    program: str = "labels of the user"
    source: str = "given by the user"

    def of(self, tissue: str) -> list[int]:
        """Return the labels of one tissue, ranges written out."""
        found: list[int] = []
        for entry in getattr(self, tissue):
            first, _, last = str(entry).partition("-")
            found += range(int(first), int(last or first) + 1)
        return found


@dataclass(frozen=True)
class Source:
    """The files of a segmentation: one of labels, or one of shares for each tissue."""

    labels: Path | None = None
    gm: Path | None = None
    wm: Path | None = None
    csf: Path | None = None
    scheme: str = ""
    """A name in `segmentation.toml` or a TOML file of one's own; by what the labels are where empty."""

    def __post_init__(self) -> None:
        """Check that it is one way or the other, and whole."""
        maps = [name for name in TISSUES if getattr(self, name) is not None]
        if self.labels is not None and maps:
            raise InputError(
                "segmentation: got an image of labels and maps of shares, expected one of the two"
            )
        if self.labels is None and len(maps) != len(TISSUES):
            missing = [name for name in TISSUES if name not in maps]
            raise InputError(
                f"segmentation: has no map of {', '.join(missing)}; expected maps of gm, wm and csf"
            )
        if self.scheme and self.labels is None:
            raise InputError(f"labels {self.scheme!r}: only with an image of labels, not with maps of shares")


@dataclass(frozen=True)
class Segmentation:
    """Shares of grey matter, white matter and CSF on an image's grid."""

    images: tuple[Any, ...]
    """One image of labels, or three of shares in the order of `TISSUES`; read where they are needed."""
    affine: NDArray[np.float64]
    """Image indices to millimetres in the space of the scanner, RAS+; shape (4, 4)."""
    lookup: NDArray[np.int8] | None
    """For each label the number of its tissue in `TISSUES`, -1 where it is none; `None` for shares."""
    name: str
    """What it is, for the record."""
    notices: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of image voxels along each axis."""
        x, y, z = self.images[0].shape[:3]
        return int(x), int(y), int(z)

    def shares(self, where: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """Return shares in a part of the image; shape (3, x, y, z) in the order of `TISSUES`.

        Raises
        ------
        DataError
            A share is below 0 or above 1.

        """
        if self.lookup is not None:
            tissue = self.lookup[_whole_numbers(self.images[0], where)]
            return np.stack([tissue == k for k in range(len(TISSUES))]).astype(np.float32)
        found = np.stack([_part(image, where).astype(np.float32) for image in self.images])
        found = np.nan_to_num(found, nan=0.0)
        if found.size and (found.min() < -0.01 or found.max() > _ABOVE_ONE):
            raise DataError(
                f"{self.name}: shares from {found.min():g} to {found.max():g}, expected 0 to 1: not probability maps"
            )
        return np.clip(found, 0.0, 1.0)


def read_segmentation(source: Source) -> Segmentation:
    """Open a segmentation.

    Raises
    ------
    InputError
        A file is missing, or a scheme of labels is unknown or wrong.
    DataError
        A file is no image, has no place in the scanner, or does not fit the others.

    """
    paths = [source.labels] if source.labels else [getattr(source, name) for name in TISSUES]
    images = tuple(open_volume(path) for path in paths)
    affines = [volume_affine(image, path) for image, path in zip(images, paths, strict=True)]
    for image, affine, path in zip(images, affines, paths, strict=True):
        if image.shape[:3] != images[0].shape[:3] or np.abs(affine - affines[0]).max() > _SAME_PLACE_MM:
            raise DataError(
                f"{path}: lies on another grid than {paths[0].name}, expected the same for all maps"
            )
    notices = [words for image, path in zip(images, paths, strict=True) for words in _template(image, path)]
    name, lookup = ", ".join(path.name for path in paths), None
    if source.labels is not None:
        scheme, lookup, more = _scheme(images[0], source)
        notices += more
        name = f"{name} ({scheme})"
    return Segmentation(images, affines[0], lookup, name, tuple(dict.fromkeys(notices)))


def open_volume(path: Path) -> Any:
    """Open one volume of real numbers, a NIfTI or MGH image; `InputError` or `DataError` where it is none."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    image: Any
    image, words = attempt(lambda: nibabel.load(path))
    if not isinstance(image, (nibabel.Nifti1Pair, nibabel.MGHImage)):  # others do not say where they lie
        raise DataError(f"{path}: cannot be read as NIfTI or MGH image ({words or type(image).__name__})")
    if np.dtype(image.get_data_dtype()).kind not in "biuf":
        raise DataError(f"{path}: holds {image.get_data_dtype()}, expected one number a voxel")
    shape = image.shape
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise DataError(f"{path}: has shape {shape}, expected one volume of three dimensions")
    return image


def volume_affine(image: Any, path: Path) -> NDArray[np.float64]:
    """Return the affine of an image in mm, RAS+; `DataError` where it has no place in the scanner."""
    header = image.header
    if "qform_code" in header and not (int(header["qform_code"]) or int(header["sform_code"])):
        raise DataError(f"{path}: has neither qform nor sform: where it lies in the scanner is not known")
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MM.get(unit, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path}: its affine is singular: where it lies in the scanner is not known")
    return affine


def _template(image: Any, path: Path) -> list[str]:
    code = int(image.header["sform_code"]) if "sform_code" in image.header else 0
    if code not in _TEMPLATE:
        return []
    return [
        f"{path.name}: says that it lies in {_TEMPLATE[code]} space (sform code {code}), not in that of the scanner"
    ]


def _part(image: Any, where: tuple[slice, slice, slice]) -> NDArray[Any]:
    sizes = [len(range(size)[one]) for size, one in zip(image.shape[:3], where, strict=True)]
    if 0 in sizes:  # beside the image: nibabel reads no empty part
        return np.zeros(sizes, image.get_data_dtype())
    part, words = attempt(lambda: np.asarray(image.dataobj[where]))
    if part is None:
        name = Path(str(image.get_filename())).name
        raise DataError(f"{name}: cannot be read, damaged or cut short ({words})")
    return part.reshape(part.shape[:3])


def _whole_numbers(image: Any, where: tuple[slice, slice, slice]) -> NDArray[np.intp]:
    part = _part(image, where)
    whole = np.round(part)
    if (
        not np.isfinite(part).all()
        or np.abs(part - whole).max(initial=0.0) > 1e-3
        or whole.min(initial=0) < 0
    ):
        raise DataError(
            "segmentation: labels are not whole numbers from 0; maps of shares are --gm-map, --wm-map and --csf-map"
        )
    return whole.astype(np.intp)


def _scheme(image: Any, source: Source) -> tuple[str, NDArray[np.int8], list[str]]:
    """Return the name of the scheme of labels, the tissue of every label, and notices."""
    present = np.flatnonzero(np.bincount(_whole_numbers(image, (slice(None),) * 3).ravel()))
    largest = int(present.max(initial=0))
    notices = []
    scheme = source.scheme
    if not scheme:
        scheme = "fast" if largest <= _FAST_LARGEST else "freesurfer"
        if scheme == "fast":
            notices.append(
                "segmentation: labels 1, 2, 3 are taken as CSF, grey and white matter (FSL FAST); --labels says else"
            )
    labels = _labels(scheme)
    lookup = np.full(largest + 1, -1, dtype=np.int8)
    for number, tissue in enumerate(TISSUES):
        of = [label for label in labels.of(tissue) if label <= largest]
        if (lookup[of] >= 0).any():
            raise InputError(f"labels {scheme!r}: a label is in two tissues")
        lookup[of] = number
    if (lookup[present] < 0).all():
        raise DataError(f"segmentation: none of the labels {present[:8].tolist()} is a tissue in {scheme!r}")
    return labels.program, lookup, notices


@lru_cache(maxsize=1)
def _shipped() -> Mapping[str, Labels]:
    text = files("pulsespec.recon").joinpath("segmentation.toml").read_text(encoding="utf-8")
    return {name: Labels.model_validate(entry) for name, entry in tomllib.loads(text).items()}


def _labels(scheme: str) -> Labels:
    if scheme in _shipped():
        return _shipped()[scheme]
    path = Path(scheme)
    if not path.is_file():
        raise InputError(f"labels {scheme!r}: expected one of {', '.join(_shipped())}, or a TOML file")
    try:
        return Labels.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of labels ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {where}: {first['msg']}, got {first['input']!r}; expected lists gm, wm and csf of labels "
            'such as 3 or "1000-1035"'
        ) from error


def schemes() -> Sequence[str]:
    """Return the names of the schemes of labels that are shipped."""
    return tuple(_shipped())
