"""Lines, their rendering, and the basis file."""

import h5py
import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.simulator import Basis, Lines
from pulsespec.simulator.basis import merge_lines, render
from pulsespec.simulator.broad import broad_lines, list_broad, ratio_priors


@pytest.fixture
def basis():
    rng = np.random.default_rng(0)
    lines = {
        name: Lines(rng.uniform(-500, 200, n), rng.normal(size=n) + 1j * rng.normal(size=n))
        for name, n in (("NAA", 40), ("Cr", 2))
    }
    return Basis(
        lines=lines | broad_lines(123.25e6, ["MM09"]),
        broad=("MM09",),
        f0_hz=123.25e6,
        nucleus="1H",
        te_s=0.03,
        water=Lines(np.zeros(1), np.array([1.9 + 0j])),
        provenance={"tolerance": 1e-4},
    )


@pytest.mark.parametrize("samples", [1, 7, 256, 1000])
def test_rendering_is_the_sum_of_its_lines(samples):
    rng = np.random.default_rng(1)
    f, a = rng.uniform(-500, 500, 30), rng.normal(size=30) + 1j * rng.normal(size=30)
    lorentz, gauss = rng.uniform(0, 5, 30), rng.choice([0.0, 12.0], 30)
    t = np.arange(samples) * 3e-4
    exponent = 2j * np.pi * f[:, None] * t - np.pi * lorentz[:, None] * t
    direct = (a[:, None] * np.exp(exponent - (np.pi * gauss[:, None] * t) ** 2 / (4 * np.log(2)))).sum(axis=0)
    np.testing.assert_allclose(render(Lines(f, a, lorentz, gauss), samples, 3e-4), direct, atol=1e-11)


def test_widths_are_full_widths_at_half_maximum():
    n, dwell_s = 1 << 16, 2.5e-4
    for widths in ({"linewidth_hz": 8.0}, {"gauss_hz": 8.0}):
        one = Basis(lines={"x": Lines(np.zeros(1), np.ones(1) + 0j)}, f0_hz=1e8, nucleus="1H", te_s=None)
        fid = one.fid("x", n, dwell_s, **widths)
        fid[0] *= 0.5
        spectrum = np.fft.fftshift(np.fft.fft(fid).real)
        above = np.sum(spectrum > spectrum.max() / 2) / (n * dwell_s)
        assert above == pytest.approx(8.0, abs=0.15)


def test_upfield_is_positive_in_the_fid(basis):
    upfield = Basis(
        lines={"x": Lines(np.array([-300.0]), np.ones(1) + 0j)}, f0_hz=1e8, nucleus="1H", te_s=None
    )
    spectrum = np.abs(np.fft.fft(upfield.fid("x", 1000, 1e-3)))
    assert np.fft.fftfreq(1000, 1e-3)[np.argmax(spectrum)] == pytest.approx(300.0)


def test_merging_keeps_the_fid():
    rng = np.random.default_rng(2)
    centre = np.repeat(rng.uniform(-400, 400, 20), 10)
    lines = Lines(centre + rng.uniform(-1e-4, 1e-4, 200), rng.normal(size=200) + 1j * rng.normal(size=200))
    merged = merge_lines(lines, 1e-2)
    assert merged.frequency_hz.size == 20
    np.testing.assert_allclose(render(merged, 2000, 2.5e-4), render(lines, 2000, 2.5e-4), atol=2e-2)
    assert merge_lines(lines, 0.0).frequency_hz.size == 200


def test_the_file_keeps_everything(basis, tmp_path):
    basis.write(tmp_path / "b.h5")
    back = Basis.read(tmp_path / "b.h5")
    assert (back.names, back.broad, back.te_s, back.tr_s) == (basis.names, basis.broad, 0.03, None)
    assert back.provenance == {"tolerance": 1e-4}
    for name in basis.names:
        np.testing.assert_array_equal(back.fid(name), basis.fid(name))
    np.testing.assert_array_equal(back.water_fid(), basis.water_fid())


def test_an_existing_file_is_kept(basis, tmp_path):
    basis.write(tmp_path / "b.h5")
    before = (tmp_path / "b.h5").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        basis.write(tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]


def test_other_and_damaged_files_are_errors(basis, tmp_path):
    path = tmp_path / "b.h5"
    basis.write(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"b\.h5"):
        Basis.read(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not a pulsespec basis"):
        Basis.read(tmp_path / "other.h5")


def test_unknown_names_are_errors(basis):
    with pytest.raises(InputError, match="Gln"):
        basis.fid("Gln")
    with pytest.raises(InputError, match="Gln"):
        basis.subset(["NAA", "Gln"])
    with pytest.raises(InputError, match="samples 0"):
        basis.fid("NAA", samples=0)


def test_broad_components_scale_with_the_field():
    low, high = (broad_lines(f0, ["MM09"])["MM09"] for f0 in (63.6e6, 297.2e6))
    assert high.gauss_hz[0] / low.gauss_hz[0] == pytest.approx(297.2 / 63.6)
    assert high.frequency_hz[0] / low.frequency_hz[0] == pytest.approx(297.2 / 63.6)
    assert broad_lines(1e8, []) == {}
    for component, reference, _, sd in ratio_priors():
        known = {name for model in ("lcmodel", "birch-3t", "bell-7t") for name in list_broad(model)}
        assert {component, *reference.split("+")} <= known
        assert sd > 0
