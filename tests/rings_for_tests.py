"""Signals of points on concentric rings, by the plain sum over time and place, and a twix file of them."""

import numpy as np
from siemens_for_tests import NOISE, Shot, write_vd

from pulsespec.recon.rings import Ring
from pulsespec.recon.transients import Geometry
from pulsespec.recon.twix_rings import RingData, RingScan

FOV_M, SIDE, DWELL_S, TURNS = 0.22, 16, 360e-6, 96
PATREFSCAN = 1 << 22
F0_HZ, GAMMA = 297.2e6, 42.57638507e6
POINTS = 48


def rings_of(count=8, fov_m=FOV_M, points=POINTS, start=0.3):
    """Rings half a step from the centre, the outer two run through at half the speed, each from another angle."""
    made = []
    for number in range(count):
        radius, angle = (number + 0.5) / fov_m, start * number
        first = (radius * np.cos(angle), radius * np.sin(angle))
        made.append(Ring(first, points, 2 if number >= count - 2 else 1))
    return tuple(made)


def samples_of(ring, sources, turns=TURNS, dwell_s=DWELL_S, sense=1):
    """Every sample as it is measured, interleave by interleave; (interleaves, turns / interleaves * points).

    A source is (x, y, frequency, amplitude) in m from the isocentre and Hz, downfield positive.
    """
    j = np.arange(turns // ring.interleaves * ring.points)
    start = np.arctan2(ring.first_per_m[1], ring.first_per_m[0])
    angle = start + sense * 2 * np.pi * j / ring.points
    k = np.hypot(*ring.first_per_m) * np.exp(1j * angle)
    rows = []
    for interleave in range(ring.interleaves):
        t = interleave * dwell_s + j * ring.interleaves * dwell_s / ring.points
        rows.append(
            sum(
                a * np.exp(2j * np.pi * (k.real * x + k.imag * y) + (2j * np.pi * f - 40.0) * t)
                for x, y, f, a in sources
            )
        )
    return np.array(rows)


def data_of(rings, sources, coils=(1.0,), turns=TURNS, sense=1):
    """Return `RingData` of sources, the same for all coils but for a factor."""
    parts = []
    for ring in rings:
        rows = samples_of(ring, sources, turns, sense=sense)
        turned = rows.reshape(ring.interleaves, -1, ring.points).transpose(2, 1, 0)
        parts.append(turned.reshape(ring.points, 1, -1) * np.asarray(coils)[:, None])
    return RingData(rings, np.concatenate(parts).astype(np.complex64))


def volume(centre_mm=(0.0, 0.0, 0.0)):
    """The field of view: read to the right, phase to the back, as in a transverse slice of Siemens."""
    affine = np.diag([FOV_M * 1e3, -FOV_M * 1e3, -10.0, 1.0])
    affine[:3, 3] = centre_mm
    return Geometry(affine)


def scan_of(sources, water=((0.0, 0.0, 0.0, 1.0),), centre_mm=(0.0, 0.0, 0.0), **more):
    rings = rings_of()
    facts = {"f0_hz": F0_HZ, "te_s": 1.3e-3, "tr_s": 0.6, "sequence": "crt", "header": {}}
    return RingScan(
        data_of(rings, sources, **more), data_of(rings, water, **more) if water else None, None, DWELL_S,
        (SIDE, SIDE), volume(centre_mm), facts,
    )  # fmt: skip


PROTOCOL = {
    "tSequenceFileName": '"%CustomerSeq%\\any_fid_crt"',
    "sTXSPEC.asNucleusInfo[0].tNucleus": '"1H"',
    "sTXSPEC.asNucleusInfo[0].lFrequency": int(F0_HZ),
    "sRXSPEC.alDwellTime[0]": 180000,
    "alTE[0]": 1300,
    "alTR[0]": 600000,
    "sKSpace.lBaseResolution": SIDE,
    "sKSpace.lPhaseEncodingLines": SIDE,
    "sKSpace.lPartitions": 1,
    "sSpecPara.sVoI.sPosition.dSag": 10.0,
    "sSpecPara.sVoI.sPosition.dCor": 4.0,
    "sSpecPara.sVoI.sPosition.dTra": 17.0,
    "sSpecPara.sVoI.sNormal.dTra": 1.0,
    "sSpecPara.sVoI.dThickness": 10.0,
    "sSpecPara.sVoI.dPhaseFOV": FOV_M * 1e3,
    "sSpecPara.sVoI.dReadoutFOV": FOV_M * 1e3,
}


def moment(ring):
    """The first point in mT/m us as whole numbers and ten-thousandths."""
    parts = []
    for k in ring.first_per_m:
        value = k / GAMMA * 1e9
        parts += [int(value), round((value - int(value)) * 1e4)]
    return tuple(parts)


def shots_of(sources, flags, adcs=2, coils=(1.0,)):
    made, now = [], 0
    for number, ring in enumerate(rings_of()):
        rows = samples_of(ring, sources)
        for interleave, row in enumerate(rows):
            pieces = np.split(row, adcs)
            for adc, piece in enumerate(pieces):
                took_ms = 1e3 * piece.size * DWELL_S * ring.interleaves / ring.points
                counters = {"Lin": number, "Phs": number, "Ida": adc, "Idb": interleave}
                ice = (*moment(ring), 0, ring.points // 2)
                data = np.outer(coils, piece).astype(np.complex64)
                made.append(Shot(data, flags, counters, 0, ice, int((now + adc * took_ms) / 2.5)))
            now += 600
    return made


def write_rings(path, sources, water, protocol=PROTOCOL, coils=(1.0, 0.5j), keep=slice(None)):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(coils), 4000, 2)) @ (1, 1j) * 1e-4
    shots = [Shot(noise.astype(np.complex64), NOISE)]
    shots += shots_of(water, PATREFSCAN, coils=coils) + shots_of(sources, 0, coils=coils)
    write_vd(path, [(shots[keep], protocol)])
    return path
