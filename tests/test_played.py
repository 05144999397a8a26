"""Every kind of localisation as written: the signal of a voxel by a Bloch simulation of the whole file."""

import bloch
import numpy as np
import pytest
from test_library import few

from pulsespec.sequences import build, load_scanner, write_sequence

SCANNER = {1.5: "siemens-aera", 3.0: "siemens-skyra", 7.0: "siemens-terra"}
SIGNAL = {
    "steam-3t-te20-tm10": 0.5,
    "steam-7t-te6-tm32": 0.5,
    "semi-laser-3t-te30": 0.97,
    "special-3t-te9": 0.96,
    "press-3t-te30": 1.0,
    "mega-press-3t-gaba": 1.0,
}


@pytest.mark.parametrize("name", SIGNAL)
@pytest.mark.parametrize("turned", [False, True])
def test_a_small_cube_in_the_middle_gives_the_signal_of_theory_and_what_is_outside_nothing(
    tmp_path, name, turned
):
    changes = {"water_suppression": None, "dummies": 0, "water_averages": 0}
    if turned:
        axes = ((0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (-0.8, 0.0, 0.6))
        changes |= {"orientation": axes, "position_mm": (11.0, -7.0, 23.0)}
    protocol = few(name).model_copy(update=changes)
    scanner = load_scanner(SCANNER[protocol.field_t])
    path = tmp_path / "x.seq"
    write_sequence(build(protocol, scanner), path)
    axes, centre = np.array(protocol.orientation).T, np.array(protocol.position_mm) * 1e-3
    rng = np.random.default_rng(0)
    # Spins in a cube of a quarter of the voxel, then 1.6 extents away along each axis of the voxel.
    size = np.array(protocol.voxel_mm) * 1e-3
    cube = rng.uniform(-0.12, 0.12, (30, 3)) * size
    away = [cube + 1.6 * np.eye(3)[axis] * size for axis in range(3)]
    places = np.concatenate([cube, *away]) @ axes.T + centre
    offset = np.full(len(places), (protocol.carrier_ppm.metabolite - 4.65) * 1e-6 * scanner.f0_hz)
    total = np.zeros(len(places), complex)
    shots = bloch.whole_shots(path)
    for blocks in shots:
        signal = bloch.play(blocks, places, offset)
        total += signal * np.exp(-1j * blocks[-1].adc.phase_offset) / len(shots)
    inside = total[:30]
    assert abs(inside.mean()) == pytest.approx(SIGNAL[name], abs=0.07)
    # Minimum phase is not quite linear along the slice.
    straight = 0.5 if protocol.pulses.excitation.asymmetric else 0.25
    assert np.abs(np.angle(inside / inside.mean())).max() < straight
    outside = total[30:].reshape(3, 30)
    # What pulses make out there is dephased, and thirty places at random average it to a sixth at best.
    assert np.abs(outside.mean(axis=1)).max() < 0.06
