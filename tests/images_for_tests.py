"""Small imaging sequences and heads, and their signal as a plain sum over points."""

from pathlib import Path

import numpy as np

from pulsespec.protocols import load_protocol
from pulsespec.recon.image_read import source_of
from pulsespec.recon.image_recon import reconstruct_source
from pulsespec.recon.stream import AdcStream
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.head_settings import HeadSettings
from pulsespec.simulator.image_play import play_image

COARSE = {"fine_mm": (12.0, 12.0, 12.0), "fold_mm": 60.0}
"""Settings of a head that few points make."""


def written(folder, name, matrix, fov_mm, points=32, **changes):
    """Write a small image of a shipped protocol; return its path."""
    protocol = load_protocol(name)
    encoding = protocol.encoding.model_copy(
        update={"matrix": matrix, "fov_mm": fov_mm} | changes.pop("encoding", {})
    )
    updates = {"encoding": encoding, "points": points, "dummies": 0, "water_dummies": 0} | changes
    path = folder / f"{name}.seq"
    write_sequence(build(protocol.model_copy(update=updates), load_scanner("siemens-prisma")), path)
    return path


def small_head(**changes):
    return HeadSettings(**(COARSE | changes))


def plain_sum(show, shot, sample, coil):
    """Return one sample of one coil before what befalls its shot: every tissue of every point on its own."""
    setup, trajectory, head = show.setup, show.trajectory, show.setup.head
    water = bool(setup.is_water[shot])
    lines = setup.response.water if water else setup.response.metabolite
    box = setup.water_box if water else setup.box
    axes, grid = setup.grid.axes, head.grid
    k = trajectory.k_per_m(shot)[sample] @ axes
    t = trajectory.times_s(shot)[sample] - setup.first_s[int(water)]
    field_s = trajectory.field_times_s(shot)[sample]
    x, y, z = (grid.along(axis) for axis in range(3))
    total = 0j
    along = [
        None if slab is None else slab.at(places + setup.grid.centre_m @ axes[:, axis], grid.spacing_m[axis])
        for axis, (slab, places) in enumerate(zip(box, (x, y, z), strict=True))
    ]
    for k_z, height in enumerate(z):
        plane = np.zeros(grid.shape[:2], complex)
        for name in head.tissues:
            one = lines[name]
            x_y_z = [np.ones((one.frequency_hz.size, n)) for n in grid.shape]
            for axis, slab in enumerate(box):
                if slab is not None:
                    x_y_z[axis] = along[axis][slab.nearest(one.frequency_hz)]
            decay = -np.pi * one.lorentz_hz * t - (np.pi * one.gauss_hz * t) ** 2 / (4 * np.log(2))
            signal = one.amplitude * x_y_z[2][:, k_z] * np.exp(2j * np.pi * one.frequency_hz * t + decay)
            plane += head.shares[name][:, :, k_z] * np.einsum("l,lx,ly->xy", signal, *x_y_z[:2])
        line = (np.pi * head.gauss_hz[:, :, k_z] * field_s) ** 2 / (4 * np.log(2))
        plane *= np.exp(2j * np.pi * head.field_hz[:, :, k_z] * field_s - line)
        wave = np.exp(2j * np.pi * (k[0] * x[:, None] + k[1] * y + k[2] * height))
        total += np.sum(plane * wave * show.sensitivities[coil][:, :, k_z])
    # Places above are from the middle of the box, those of the gradients from the isocentre.
    total *= np.exp(2j * np.pi * (trajectory.k_per_m(shot)[sample] @ setup.grid.centre_m))
    return total * np.prod(grid.spacing_m / setup.grid.spacing_m)


def reconstructed(show):
    """Play a scan and return its images, as `recon` makes them of the file."""
    shots, noise = play_image(show)
    data = [noise, *shots]
    stream = AdcStream(
        Path("head.h5"),
        np.array([one.shape for one in data], np.int64),
        lambda rows: (data[row] for row in rows),
        {"f0_hz": show.setup.timeline.f0_hz, "header": {"manufacturer": "pulsespec"}},
        np.arange(len(data)) == 0,
    )
    return reconstruct_source(source_of(stream, show.setup.played, show.setup.trajectory, "head.seq"))
