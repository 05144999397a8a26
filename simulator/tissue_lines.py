"""Lines of the broad components of tissues: those of `broad`, and what only a tissue has, such as liver fat."""

from collections.abc import Sequence

import numpy as np

from pulsespec.conventions import RECEIVER_PPM
from pulsespec.simulator.basis import Lines
from pulsespec.simulator.broad import broad_lines, list_broad
from pulsespec.simulator.tissue_table import shipped_table


def known_broad() -> list[str]:
    """Return the names of all components that `tissue_lines` knows."""
    return [*list_broad(), *shipped_table().lines]


def tissue_lines(f0_hz: float, names: Sequence[str], reference_ppm: float = RECEIVER_PPM) -> dict[str, Lines]:
    """Return the lines of broad components at a field, as `broad_lines` does.

    Raises
    ------
    InputError
        A name is not known.

    """
    own = shipped_table().lines
    shared = broad_lines(f0_hz, [name for name in names if name not in own], reference_ppm)
    to_hz, found = f0_hz * 1e-6, {}
    for name in names:
        if name in shared:
            found[name] = shared[name]
            continue
        ppm, width_ppm, share = np.array(own[name].peaks).T
        found[name] = Lines(
            (ppm - reference_ppm) * to_hz, share.astype(complex), np.zeros(ppm.size), width_ppm * to_hz
        )
    return found
