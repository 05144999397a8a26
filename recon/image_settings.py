"""How images are reconstructed."""

from dataclasses import dataclass

from pulsespec.errors import InputError
from pulsespec.recon.image_coils import COIL_METHODS
from pulsespec.recon.image_echoes import ECHO_MODES
from pulsespec.recon.image_regrid import FILTERS


@dataclass(frozen=True)
class ImageSettings:
    """Which steps are taken, and how."""

    filter: str = "none"
    """Weighting of k-space along every encoded axis: one of `image_regrid.FILTERS`."""
    echo_mode: str = "average"
    """What becomes of the polarities of a bipolar train: one of `image_echoes.ECHO_MODES`."""
    coil_combination: str = "walsh"
    """How coils are weighed: one of `image_coils.COIL_METHODS`."""
    zero_fill: tuple[int, int, int] | None = None
    """Voxels along x, y, z that are made, not fewer than were encoded."""
    whitening: bool = True
    """Whiten the coils by the noise scan, where there is one."""
    drift_correction: bool = True
    """Take a linear drift of frequency away where water, read in every repetition through several coils, shows it."""
    polarity_correction: bool = True
    """Correct delay and phase of odd and even echoes from water."""
    untilt: bool = True
    """Put every sample on one time axis."""
    b0_alignment: bool = True
    """Shift every voxel so that its water lies at 4.65 ppm."""
    eddy_current_correction: bool = True
    """Take the phase of water away where it is strong (Klose)."""

    def __post_init__(self) -> None:
        """Check that the methods are known, before anything is read."""
        for name, known in (
            ("filter", tuple(FILTERS)),
            ("echo_mode", ECHO_MODES),
            ("coil_combination", COIL_METHODS),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}")
