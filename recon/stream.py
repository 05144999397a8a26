"""A stream of readouts: what any raw data are before they are sorted, read shot by shot and never twice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import swap_sense
from pulsespec.errors import DataError
from pulsespec.recon.transients import Record, Transients

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class AdcStream:
    """All readouts of one scan in the order in which they were taken; samples stay in the file until asked for."""

    path: Path
    """The file, for messages."""
    shapes: NDArray[np.int64]
    """Coils and samples of each readout; shape (n_readouts, 2)."""
    fetch: Callable[[Sequence[int]], Iterator[NDArray[Any]]]
    """Yield the samples of readouts, each complex of shape (coils, samples), in the sense of the scanner."""
    facts: dict[str, Any]
    """What the header says, by the names of the fields of `Transients`."""
    is_noise: NDArray[np.bool_]
    """Whether a readout is noise alone, as the scanner's flags say; shape (n_readouts,)."""
    extra_noise: NDArray[np.complex64] | None = None
    """Noise of another measurement in the file, NIfTI-MRS sense; shape (coils, samples)."""
    records: tuple[Record, ...] = field(default=())
    """What the reader decided."""

    def __len__(self) -> int:
        return len(self.shapes)

    def block(self, indices: Indices, leading: int = 0) -> NDArray[np.complex64]:
        """Return readouts as one array in the NIfTI-MRS sense, read straight into it.

        Parameters
        ----------
        indices
            Of readouts with equal coils and samples; any shape.
        leading
            Samples that are left out at the start of each.

        Returns
        -------
        FIDs of shape (*indices.shape, coils, samples).

        Raises
        ------
        DataError
            The readouts differ in coils or samples, or the file ends within them.

        """
        flat = indices.ravel()
        shapes = {(int(coils), int(samples)) for coils, samples in self.shapes[flat]}
        if len(shapes) != 1:
            listed = ", ".join(f"{coils} x {samples}" for coils, samples in sorted(shapes))
            raise DataError(f"{self.path}: readouts of one kind differ in coils x samples: {listed}")
        ((coils, samples),) = shapes
        out = np.empty((flat.size, coils, samples - leading), dtype=np.complex64)
        for number, shot in enumerate(self.fetch([int(index) for index in flat])):
            out[number] = swap_sense(shot[:, leading:])
        return out.reshape(*indices.shape, coils, samples - leading)

    def noise(self, coils: int) -> NDArray[np.complex64] | None:
        """Return noise samples of as many coils, shape (coils, samples), or `None` where there are none."""
        rows = np.flatnonzero(self.is_noise & (self.shapes[:, 0] == coils))
        if rows.size:
            shots = [np.asarray(swap_sense(shot)) for shot in self.fetch([int(row) for row in rows])]
            return np.concatenate(shots, axis=1).astype(np.complex64)
        found = self.extra_noise
        return found if found is not None and found.shape[0] == coils else None


def gather(stream: AdcStream, indices: Indices, leading: int = 0, **changes: Any) -> Transients | None:
    """Return readouts as `Transients`; `None` where there are none.

    Parameters
    ----------
    stream
        The readouts.
    indices
        Which of them: a row for each editing condition, averages in the order of time; shape (n_edit, n_average).
    leading
        Samples before the signal's time zero, which are left out.
    changes
        What is known better than by the stream's own facts.

    """
    if not indices.size:
        return None
    rows = indices[0] if len(indices) == 1 else indices
    data = stream.block(rows, leading)
    dims = ("average", "coil", "t") if len(indices) == 1 else ("edit", "average", "coil", "t")
    facts = stream.facts | changes
    records = (*stream.records, *facts.pop("records", ()))
    noise = stream.noise(data.shape[-2])
    return Transients(data=data, dims=dims, noise=noise, records=records, source=stream.path.name, **facts)
