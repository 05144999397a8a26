"""The truth of a virtual scan of a head, as it stands in the header of its file."""

from typing import Any

import numpy as np

from pulsespec.simulator.head_settings import head_as_json
from pulsespec.simulator.image_noise import readout_of, reference_height, white_matter
from pulsespec.simulator.image_play import ImagePerformance


def image_truth(show: ImagePerformance) -> dict[str, Any]:
    """Return what a scan was made of as JSON has it; maps are written apart (`image_maps.write_truth`).

    Frequencies and phases are in the sense of the raw data: positive is downfield.
    """
    setup = show.setup
    readout = readout_of(setup)
    covariance = show.noise_variance * show.covariance
    return {
        "kind": "image",
        "head": head_as_json(setup.head.settings),
        "faults": show.faults.as_json(),
        "seed": show.seed,
        "sequence_hash": setup.sequence_hash,
        "matrix": list(setup.grid.shape),
        "affine": setup.grid.affine.tolist(),
        "frequency_hz": show.shots.frequency_hz.tolist(),
        "phase_rad": show.shots.phase_rad.tolist(),
        "moved_mm": (show.shots.moved_m * 1e3).tolist() if show.faults.motion_mm else None,
        "noise_covariance": covariance.tolist(),
        "reference_height": reference_height(setup, readout),
        "points": readout.points,
        "dwell_s": readout.dwell_s,
        "voxel_noise_variance_of_one": readout.variance,
        "white_matter_voxels": int(np.count_nonzero(white_matter(setup))),
    }
