"""The virtual scanner makes images: its raw data are what a plain sum over points, or a closed form, gives."""

import images_for_tests as images
import numpy as np
import pytest

from pulsespec.simulator.image_faults import ImageFaults
from pulsespec.simulator.image_play import play_image, prepare_image
from pulsespec.simulator.image_setup import set_up_image

QUIET = ImageFaults(coils=2, snr=float("inf"))
FOV = (240.0, 240.0, 160.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def epsi(folder):
    """Bipolar, three-dimensional, water in each repetition, inversion and water suppression as they are."""
    path = images.written(folder, "epsi-3t-whole-brain", (6, 5, 4), FOV)
    return set_up_image(path, images.small_head(lesion="recurrent-tumour"))


@pytest.mark.parametrize(
    "faults", [QUIET, ImageFaults(coils=2, snr=float("inf"), gradient_delay_us=(3, 2, 1), echo_shift=0.1)]
)
def test_a_bipolar_train_gives_the_sum_over_all_points(epsi, faults):
    show = prepare_image(epsi, faults=faults)
    data, noise = play_image(show)
    assert noise is None
    rng = np.random.default_rng(0)
    for shot in (0, 1, 17, 20, 39):
        size = float(np.abs(data[shot]).max())
        for sample in [*rng.integers(0, data[shot].shape[1], 8), 0, data[shot].shape[1] - 1]:
            expected = images.plain_sum(show, shot, int(sample), 1)
            assert data[shot][1, sample] == pytest.approx(expected, abs=2e-4 * size)
