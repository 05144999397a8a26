"""Cleaning of images: masks, water in batches and scalp lipid, against a synthetic head whose parts are known."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scalp_for_tests import DWELL_S, F0_HZ, SAMPLES, VOXEL_MM, T, blurred, head, singlet
from threadpoolctl import threadpool_limits

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.errors import DataError, InputError, MismatchError
from pulsespec.recon.hankel import batch_decay_rates, continued_backwards
from pulsespec.recon.image_cleaning import CleaningSettings, clean_images
from pulsespec.recon.image_masks import masks_of, read_mask, water_image, write_mask
from pulsespec.recon.image_water import remove_image_water
from pulsespec.recon.lipid_operator import lipid_operator, survival
from pulsespec.recon.lipid_removal import WEIGHTS, pattern, trade_off
from pulsespec.recon.lipid_spatial import Blur, k_weights
from pulsespec.recon.nifti import read_nifti
from pulsespec.recon.transients import Geometry, Record, Scan, Transients
from pulsespec.recon.water_removal import remove_water

PPM = ppm_axis(SAMPLES, DWELL_S, F0_HZ)


def peak(fids, low, high):
    return np.abs(to_spectrum(fids))[..., (low < PPM) & (high > PPM)].max(axis=-1)


def overlap(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


@pytest.fixture(scope="module")
def made():
    return head(lesion=8.0)


@pytest.fixture(scope="module")
def cleaned(made):
    return clean_images(made.scan)


def test_brain_and_scalp_are_found(made, cleaned):
    masks = cleaned.masks
    assert overlap(masks.brain, made.brain) > 0.9
    assert not np.any(masks.brain & made.fat & (masks.scalp | ~masks.head))
    assert np.sum(masks.scalp & made.fat) > 0.85 * np.sum(made.fat)
    assert not np.any(masks.scalp & made.brain), "what is in the brain, a lesion's lipid too, is no scalp"
    assert not np.any(masks.brain & masks.scalp)


def test_without_lipid_there_is_no_scalp_and_nothing_is_removed():
    made = head(lipid=0.0)
    found = clean_images(made.scan, CleaningSettings(water_removal=False))
    assert not found.masks.scalp.any()
    assert found.operator is None
    np.testing.assert_array_equal(found.scan.metabolite.data, made.scan.metabolite.data)
    assert "no scalp lipid" in found.scan.metabolite.records[-1].details


def test_a_mask_of_a_user_is_believed_wherever_its_grid_lies(made, tmp_path):
    data = made.scan.metabolite
    fine = np.kron(made.brain[:, :, 0], np.ones((3, 3)))[::-1, :, None] * np.ones(5)
    affine = np.diag([-3.0, 3.0, 15.0, 1.0])
    affine[:3, 3] = data.geometry.affine[:3, 3] + (-3.0 + 3.0 * (fine.shape[0] - 1), -3.0, -30.0)
    path = tmp_path / "brain.nii.gz"
    nibabel.save(nibabel.Nifti1Image(fine.astype(np.uint8), affine), path)
    np.testing.assert_array_equal(read_mask(path, data), made.brain)
    found = clean_images(made.scan, CleaningSettings(brain_mask=path, water_removal=False))
    np.testing.assert_array_equal(found.masks.brain, made.brain)
    assert np.sum(found.masks.scalp & made.fat) > 0.85 * np.sum(made.fat)
    away = affine.copy()
    away[:3, 3] += 1000
    nibabel.save(nibabel.Nifti1Image(fine.astype(np.uint8), away), path)
    with pytest.raises(MismatchError, match="no voxel"):
        read_mask(path, data)
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(DataError, match="cannot be read"):
        read_mask(tmp_path / "text.nii", data)


def test_masks_are_written_and_read_again(made, cleaned, tmp_path):
    path = tmp_path / "mask.nii.gz"
    write_mask(cleaned.masks.brain, made.scan.metabolite, path)
    np.testing.assert_array_equal(read_mask(path, made.scan.metabolite), cleaned.masks.brain)
    with pytest.raises(InputError, match="exists"):
        write_mask(cleaned.masks.brain, made.scan.metabolite, path)


def test_the_water_image_does_not_see_b0(made):
    water = made.scan.water
    shifted = replace(water, data=water.data * np.exp(2j * np.pi * 40.0 * T))
    np.testing.assert_allclose(water_image(shifted), water_image(water), rtol=1e-9)


def test_what_is_no_image_or_has_no_head_is_refused(made):
    data = made.scan.metabolite
    flat = replace(data, data=data.data[:, :, 0], dims=("x", "y", "t"))
    with pytest.raises(InputError, match="coils combined"):
        clean_images(Scan(flat, made.scan.water))
    with pytest.raises(InputError, match="no water reference"):
        clean_images(Scan(data))
    with pytest.raises(InputError, match="no metabolite"):
        clean_images(Scan(None, made.scan.water))
    with pytest.raises(MismatchError, match="grid"):
        masks_of(data, replace(made.scan.water, data=made.scan.water.data[:4]))
    with pytest.raises(DataError, match="no head"):
        masks_of(data, replace(made.scan.water, data=np.ones_like(made.scan.water.data)))
    with pytest.raises(InputError, match="lipid_survival"):
        CleaningSettings(lipid_survival=1.5)


def test_batches_find_the_exponentials_of_a_signal_without_noise():
    rates = np.array([-20 + 2j * np.pi * 30, -30 - 2j * np.pi * 90, -10 + 2j * np.pi * 200])
    scale = np.array([[100.0, 3.0, 1.0], [1.0, 50.0, 0.5j]])
    found = batch_decay_rates(scale @ np.exp(rates[:, None] * T), DWELL_S, 3)
    for one in found:
        np.testing.assert_allclose(one[np.argsort(one.imag)], rates[np.argsort(rates.imag)], rtol=1e-6)


def test_first_points_are_predicted_from_the_rest():
    rates = np.array([-20 + 2j * np.pi * 30, -30 - 2j * np.pi * 90])
    whole = np.array([[5.0, 1.0], [1.0, 2j]]) @ np.exp(rates[:, None] * T)
    spoiled = whole.copy()
    spoiled[:, :3] = 7.0
    np.testing.assert_allclose(continued_backwards(spoiled, DWELL_S, 3, components=2), whole, atol=1e-6)


def test_water_goes_and_metabolites_stay_as_with_one_voxel_at_a_time(made):
    data = made.scan.metabolite
    where = made.brain.copy()
    where[:, 16:] = False
    found = remove_image_water(data, where)
    truth = (made.metabolites + made.leaked)[where]
    dirt = data.data[where] - truth
    error = found.data[where] - truth
    assert np.all(peak(error, 4.2, 5.1) < 0.02 * peak(dirt, 4.2, 5.1))
    single = Transients(data=data.data[where][:6], dims=("average", "t"), dwell_s=DWELL_S, f0_hz=F0_HZ)
    by_one = remove_water(single, components=24).data
    size = np.linalg.norm(by_one - truth[:6])
    assert np.linalg.norm(found.data[where][:6] - truth[:6]) < 1.3 * size
    record = found.records[-1].figures
    assert np.all(record["water_left"][where] < 0.3)
    assert np.isnan(record["water_left"][~where]).all()
    np.testing.assert_array_equal(found.data[~where], data.data[~where])


def test_blocks_of_water_removal_do_not_depend_on_what_runs_them(made):
    data = made.scan.metabolite
    calls = []

    def backwards(function, blocks, jobs):
        calls.append(jobs)
        return [function(block) for block in reversed(blocks)][::-1]

    first = remove_image_water(data, made.brain)
    with threadpool_limits(1):  # as workers have it: the number of threads changes the last digits
        second = remove_image_water(data, made.brain, jobs=3, spread=backwards)
    np.testing.assert_array_equal(first.data, second.data)
    assert calls == [3]


def test_the_operator_is_the_closed_form_as_published(made):
    rng = np.random.default_rng(3)
    for voxels in (5, 40):
        scalp = rng.normal(size=(voxels, 24)) + 1j * rng.normal(size=(voxels, 24))
        fids = rng.normal(size=(7, 24)) + 1j * rng.normal(size=(7, 24))
        columns = scalp.T
        largest = np.linalg.eigvalsh(columns @ columns.conj().T)[-1]
        inverse = np.linalg.inv(np.eye(24) + 2.5 / largest * columns @ columns.conj().T)
        found = lipid_operator(scalp, 2.5)
        np.testing.assert_allclose(found.apply(fids), fids @ inverse.T, atol=1e-10)
        np.testing.assert_allclose(found.apply(fids) + found.removed(fids), fids, atol=1e-12)
        np.testing.assert_allclose(found.with_weight(0.0).apply(fids), fids, atol=1e-12)


def test_a_band_finds_amounts_by_least_squares_within_it():
    rng = np.random.default_rng(4)
    scalp = rng.normal(size=(3, 32)) + 1j * rng.normal(size=(3, 32))
    inside = np.zeros(32)
    inside[4:14] = 1.0
    amounts = np.array([1.0, -2j, 0.5])
    outside = np.fft.ifft(np.where(inside > 0, 0, rng.normal(size=32)))
    operator = lipid_operator(scalp, 1e12, inside)
    np.testing.assert_allclose(operator.apply(amounts @ scalp + outside), outside, atol=1e-8)


def test_scalp_lipid_goes_from_the_brain_and_metabolites_stay(made, cleaned):
    brain = cleaned.masks.brain & made.brain & ~made.lesion
    naa = np.median(peak(made.metabolites[brain], 1.9, 2.1))
    before, after = (part[brain] for part in (made.leaked, cleaned.operator.apply(made.leaked)))
    assert np.quantile(peak(before, 0.5, 1.8), 0.95) > naa
    assert np.quantile(peak(after, 0.5, 1.8), 0.95) < 0.02 * naa, "the goal of the settings"
    for ppm in (2.008, 3.027, 3.185):
        probe = singlet(ppm)
        found, truth = (
            part[brain] @ probe.conj() for part in (cleaned.scan.metabolite.data, made.metabolites)
        )
        assert np.median(np.abs(found / truth - 1)) < 0.07
    outside = ~cleaned.masks.head
    np.testing.assert_array_equal(cleaned.scan.metabolite.data[outside], made.scan.metabolite.data[outside])


def test_recognising_lipid_in_its_band_costs_less_naa_than_everywhere(made, cleaned):
    data, masks = made.scan.metabolite, cleaned.masks
    dry = remove_image_water(data, masks.head)
    naa = pattern("NAA", data, 8.0)
    banded, curve = trade_off(dry, masks)
    published, other = trade_off(dry, masks, band_ppm=None)
    leak = made.leaked[masks.brain & made.brain]
    same = min(
        WEIGHTS,
        key=lambda w: abs(
            np.linalg.norm(published.with_weight(w).apply(leak)) - np.linalg.norm(banded.apply(leak))
        ),
    )
    assert 1 - survival(banded, naa) < 0.7 * (1 - survival(published.with_weight(same), naa))
    for found in (curve, other):
        assert np.all(np.diff(found.survival["NAA"]) <= 1e-9)
        assert found.survival["NAA"][found.chosen] >= 0.93
        assert np.all(np.diff(found.lipid) <= 1e-9)


def test_what_a_known_signal_loses_is_what_survival_says(made, cleaned):
    """A lesion's lipid is made of the same lines as the scalp's: little of it is left, and the record says so."""
    lipid = singlet(1.3, 12.0) + 0.3 * singlet(0.9, 12.0)
    assert survival(cleaned.operator, lipid) < 0.2
    record = cleaned.scan.metabolite.records[-1]
    assert record.figures["survival"]["lipid"] < 0.2 < 0.93 < record.figures["survival"]["NAA"]
    with_more = cleaned.operator.apply(made.scan.metabolite.data + lipid) - cleaned.operator.apply(
        made.scan.metabolite.data
    )
    share = np.vdot(lipid, with_more[3, 4, 0]).real / np.vdot(lipid, lipid).real
    assert share == pytest.approx(survival(cleaned.operator, lipid), abs=1e-9)


def test_a_weight_and_limits_of_the_user_are_kept(made, cleaned):
    given = clean_images(made.scan, CleaningSettings(water_removal=False, lipid_weight=3.0), made.brain)
    assert given.operator.weight == 3.0
    assert "given" in given.scan.metabolite.records[-1].details
    strict = trade_off(made.scan.metabolite, cleaned.masks, least_survival=0.999999)[1]
    assert strict.chosen == 0
    assert "no weight leaves" in strict.why
    tight = trade_off(made.scan.metabolite, cleaned.masks, least_survival=0.97, goal=1e-9)[1]
    assert "not met" in tight.why
    assert tight.survival["NAA"][tight.chosen] >= 0.97


def test_sources_are_shown_as_the_images_show_them():
    """The blur and its adjoint belong together, and show a map on a finer grid as the object was made."""
    rng = np.random.default_rng(5)
    blur = Blur(rng.uniform(size=(6, 5, 3)), (2, 3, 1))
    sources = rng.normal(size=(2, 12, 15, 3, 2)) @ (1, 1j)
    images = rng.normal(size=(2, 6, 5, 3, 2)) @ (1, 1j)
    assert np.vdot(images, blur.image(sources)) == pytest.approx(np.vdot(blur.adjoint(images), sources))
    part = np.zeros((96, 96))
    part[40:51, 30:34] = 1
    for filtered in (False, True):
        scan = head(lipid=0.0, hamming=filtered).scan
        fine = Blur(k_weights(scan.metabolite), (3, 3, 1)).image(part[None, :, :, None] + 0j)[0, :, :, 0]
        np.testing.assert_allclose(fine / 9, blurred(part, hamming=filtered), atol=1e-6)


def test_weights_of_k_space_are_those_of_the_record(made):
    data = made.scan.metabolite
    np.testing.assert_array_equal(k_weights(data), np.ones((32, 32, 1)))
    assert k_weights(replace(data, records=())) is None

    def told(**figures):
        return k_weights(replace(data, records=(Record("Spatial Fourier transform", "", figures),)))

    assert told(matrix=(16, 32, 1), filter="none").sum() == 16 * 32
    assert told(matrix=(32, 32, 1), filter="hamming")[0, 0, 0] == pytest.approx(1.0)
    disc = told(edge_per_m=0.25 / (VOXEL_MM * 1e-3), filter="none")
    assert disc.sum() == pytest.approx(np.pi * 8**2, rel=0.05)


def test_a_lesion_keeps_its_lipid_where_the_scalp_casts_none():
    """By place the scalp's lipid goes from most voxels, and with it nothing of the lesion's or of NAA."""
    made = head(lesion=8.0, hamming=True)
    found = clean_images(made.scan, CleaningSettings(lipid_by_place=True), made.brain)
    brain = found.masks.brain & made.brain
    naa = np.median(peak(made.metabolites[brain & ~made.lesion], 1.9, 2.1))
    assert np.sum(found.lipid_voxels) < 0.4 * np.sum(found.masks.brain)
    spared = made.lesion & ~found.lipid_voxels
    assert np.sum(spared) >= 0.6 * np.sum(made.lesion)
    lipid = singlet(1.3, 12.0) + 0.3 * singlet(0.9, 12.0)
    kept = (found.scan.metabolite.data @ lipid.conj()) / (made.metabolites @ lipid.conj())
    np.testing.assert_allclose(kept[spared].real, 1.0, atol=0.05)
    assert np.quantile(peak(made.leaked[brain], 0.5, 1.8), 0.95) > 0.2 * naa
    left = found.scan.metabolite.data - made.metabolites
    assert np.quantile(peak(left[brain & ~found.lipid_voxels], 0.5, 1.8), 0.95) < 0.08 * naa
    probe = singlet(2.008)
    share = np.abs(
        found.scan.metabolite.data[brain] @ probe.conj() / (made.metabolites[brain] @ probe.conj())
    )
    assert np.median(np.abs(share - 1)) < 0.01
    words = found.scan.metabolite.records[-2].details
    assert "carried in from the scalp" in words


def test_lipid_is_removed_in_the_field_that_it_was_made_in(made):
    """Lipid has the scalp's frequency wherever it is cast: voxels aligned by their water are turned back for it."""
    data, water = made.scan.metabolite, made.scan.water
    x = np.indices(data.data.shape[:3])[0]
    offsets = 30.0 * np.sin(2 * np.pi * x / 16)
    wave = np.exp(2j * np.pi * offsets[..., None] * T)  # NIfTI-MRS sense: as if the field were lower
    record = Record("Frequency and phase correction", "aligned", {"b0_hz": offsets})
    aligned = replace(data, data=data.data * wave, records=(*data.records, record))
    settings = CleaningSettings(water_removal=False, lipid_weight=1e4)
    moved = replace(water, data=water.data * wave)
    known, unknown, plain = (
        clean_images(Scan(one, of), settings, made.brain).scan.metabolite
        for one, of in ((aligned, moved), (replace(aligned, records=data.records), moved), (data, water))
    )
    inside = made.brain & ~made.lesion
    errors = [
        np.linalg.norm((part.data * wave.conj() - plain.data)[inside]) / np.linalg.norm(plain.data[inside])
        for part in (known, unknown)
    ]
    assert errors[0] < 0.1, "the masks may differ by a voxel, for they are found in other spectra"
    assert errors[1] > 3 * errors[0]


def test_oblique_voxels_find_their_mask(tmp_path):
    angle = 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * VOXEL_MM
    data = Transients(
        data=np.ones((9, 9, 1, 8), complex), dims=("x", "y", "z", "t"), dwell_s=DWELL_S, f0_hz=F0_HZ,
        geometry=Geometry(affine),
    )  # fmt: skip
    grid = np.stack(np.meshgrid(*[np.arange(-100, 101, 2.0)] * 2, [-4.0, -2, 0, 2, 4], indexing="ij"))
    centre = affine[:3, :3] @ (6, 2, 0)
    ball = np.linalg.norm(grid[:2] - centre[:2, None, None, None], axis=0) < 1.6 * VOXEL_MM
    image = nibabel.Nifti1Image(
        ball.astype(np.uint8), np.array([[2, 0, 0, -100], [0, 2, 0, -100], [0, 0, 2, -4], [0, 0, 0, 1.0]])
    )
    nibabel.save(image, tmp_path / "ball.nii")
    found = read_mask(tmp_path / "ball.nii", data)[..., 0]
    assert found[5:8, 1:4].sum() == found.sum() == 9


def test_water_goes_from_real_images_and_a_box_has_no_scalp(data_folder):
    data = read_nifti(data_folder / "mrsi-3t-te40" / "mrsi-16x16.nii.gz")
    images = replace(data, data=data.data[:, :, None], dims=("x", "y", "z", "t"))
    found = clean_images(Scan(images, images))  # residual water shows the box as well as a reference would
    left = found.scan.metabolite.records[-2].figures["water_left"][found.masks.head]
    assert found.scan.metabolite.records[-2].figures["before"] > 3
    assert np.median(left) < 0.3
    assert not found.masks.scalp.any()
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    naa = (ppm > 1.9) & (ppm < 2.1)
    before, after = (
        np.abs(to_spectrum(part.data[found.masks.brain]))[:, naa].max(axis=1)
        for part in (images, found.scan.metabolite)
    )
    assert np.median(np.abs(after / before - 1)) < 0.05
