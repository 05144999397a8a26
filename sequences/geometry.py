"""Where a voxel is and how it is turned, in the coordinates of the gradients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """The axes and the centre of a voxel."""

    rotation: NDArray[np.float64]
    """Columns are the voxel's x, y and z in gradient coordinates; shape (3, 3)."""
    position_m: NDArray[np.float64]
    """Centre in gradient coordinates; shape (3,)."""

    @classmethod
    def identity(cls) -> "Frame":
        """Return a voxel in the isocentre along the gradients."""
        return cls(np.eye(3), np.zeros(3))

    def to_gradient(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a vector along the voxel's axes in gradient coordinates."""
        return np.asarray(self.rotation @ vector)
