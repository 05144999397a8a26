"""The one type that raw data become: an array of FIDs with named dimensions and what is known of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.errors import InputError

DIMENSIONS = ("x", "y", "z", "series", "edit", "average", "coil", "t")
"""Names a dimension can have, in the order in which `Transients.data` has them; `t` is always last.

Along `series` spectra differ by design, such as in b-value, TI or time."""


@dataclass(frozen=True)
class Record:
    """What one processing step did, for NIfTI-MRS `ProcessingApplied` and the report."""

    method: str
    """Name of the step as NIfTI-MRS lists it, such as "RF coil combination"."""
    details: str
    """One line with the settings that were resolved and the figures that came out."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Numbers and arrays for the report, such as the frequency drift in Hz of each average."""
    program: str = "pulsespec"
    version: str = ""
    time: str = ""
    """ISO 8601 time of processing; empty where it was not noted."""


@dataclass(frozen=True)
class Geometry:
    """Where the voxel (or grid) lies in the patient, in NIfTI world coordinates (RAS+, millimetres)."""

    affine: NDArray[np.float64]
    """Voxel indices to millimetres; shape (4, 4)."""

    @property
    def voxel_mm(self) -> NDArray[np.float64]:
        """Edge lengths of one voxel in mm; shape (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


@dataclass(frozen=True, kw_only=True)
class Transients:
    """FIDs of one kind (metabolite or water) in the NIfTI-MRS sense, with named dimensions."""

    data: NDArray[Any]
    """FIDs, complex64 as scanners write raw data or complex128; one axis for each name in `dims`, time last."""
    dims: tuple[str, ...]
    """Names of the axes of `data`, a subset of `DIMENSIONS` in that order, ending in "t"."""
    dwell_s: float
    """Time between samples in s."""
    f0_hz: float
    """Exact spectrometer frequency in Hz: the frequency at `reference_ppm`."""
    nucleus: str = "1H"
    te_s: float | None = None
    tr_s: float | None = None
    reference_ppm: float = RECEIVER_PPM
    """Chemical shift at the centre of the spectrum."""
    geometry: Geometry | None = None
    sequence: str = ""
    """What the header calls the sequence."""
    source: str = ""
    """Name of the file the data came from, without identifiers."""
    sign_is_defined: bool = False
    """Whether the file format defines the sense of frequency, so that a contradiction is an error."""
    noise: NDArray[Any] | None = None
    """Noise-only samples, shape (n_coils, n_noise), where the scan has them."""
    header: dict[str, Any] = field(default_factory=dict)
    """Further facts from the header that a step or the report needs (no identifiers)."""
    records: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        """Check that names and axes agree."""
        expected = tuple(name for name in DIMENSIONS if name in self.dims)
        if self.dims != expected or self.dims[-1:] != ("t",) or self.data.ndim != len(self.dims):
            raise InputError(
                f"Transients: dims {self.dims} with data of shape {self.data.shape}, expected one "
                f"axis a name, in the order {DIMENSIONS}, ending in 't'"
            )

    @property
    def samples(self) -> int:
        """Number of points in each FID."""
        return int(self.data.shape[-1])

    def axis(self, name: str) -> int:
        """Return the axis of `data` that is called `name`; `InputError` where there is none."""
        if name not in self.dims:
            raise InputError(f"dimension {name!r}: not in the data, which have {self.dims}")
        return self.dims.index(name)

    def size(self, name: str) -> int:
        """Return the length of dimension `name`, 1 where the data have none."""
        return int(self.data.shape[self.dims.index(name)]) if name in self.dims else 1

    def with_data(
        self, data: NDArray[Any], *records: Record, drop: tuple[str, ...] = (), **changes: Any
    ) -> "Transients":
        """Return a copy with other data and further records; `drop` names the dimensions that went away."""
        dims = tuple(name for name in self.dims if name not in drop)
        return replace(self, data=np.asarray(data), dims=dims, records=self.records + records, **changes)


@dataclass(frozen=True)
class Scan:
    """What one reader returns: metabolite FIDs and, where the scan has them, water references."""

    metabolite: Transients | None
    """Water-suppressed data; `None` where the file holds a water reference alone."""
    water: Transients | None = None
    """Unsuppressed water from the same voxel, the absolute reference and source of the eddy-current phase."""
    coil_reference: Transients | None = None
    """Water that the coils are combined by, where it is another measurement than `water`."""
    eddy_reference: Transients | None = None
    """Water that the eddy-current phase is taken from, where it is another measurement than `water`."""
