"""Macromolecules in the phase of a readout that begins after the excitation, beside those played through the file."""

import images_for_tests as images
import numpy as np
import pytest

from pulsespec.simulator.broad import fit_lines
from pulsespec.simulator.broad_phase import in_phase_of, lines_for
from pulsespec.simulator.broad_response import lines_through
from pulsespec.simulator.simulate import simulate


@pytest.fixture(scope="module", params=["fid-mrsi-3t", "epsi-3t-2d-flyback"])
def played(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phase")
    path = images.written(folder, request.param, (4, 4, 1), (200.0, 200.0, 15.0))
    return path, simulate(path, ["NAA", "Cr"], tolerance=1e-2)


def test_lines_have_the_phase_that_the_sequence_gives_them(played):
    path, basis = played
    lines = fit_lines(basis.f0_hz, basis.reference_ppm)
    true = lines_through(path, {0: basis}, lines)[0]
    found = in_phase_of(basis, lines)
    for name, one in found.items():
        together = np.vdot(true[name].amplitude, one.amplitude)
        assert abs(np.degrees(np.angle(together))) < 12, name


def test_at_an_echo_nothing_is_turned(played):
    _, basis = played
    lines, plain = lines_for(basis), fit_lines(basis.f0_hz, basis.reference_ppm)
    turned = any(np.abs(lines[name].amplitude - plain[name].amplitude).max() > 0.1 for name in plain)
    assert turned == (basis.te_s < 0.01)
