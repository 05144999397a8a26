"""Synthetic series of three metabolites, with everything that differs from one spectrum to the next."""

import numpy as np

from pulsespec.recon.transients import Transients
from pulsespec.simulator import Basis, Lines

F0, DWELL, SAMPLES = 123.25e6, 4e-4, 1024
T = np.arange(SAMPLES) * DWELL
ROWS = {
    "NAA": [(2.01, 3.0), (2.6, 0.8)],
    "Cr": [(3.03, 3.0), (3.92, 2.0)],
    "Ins": [(3.52, 2.0), (3.61, 2.0)],
}


def small_basis(te_s=0.03):
    lines = {
        name: Lines(np.array([(p - 4.65) * F0 * 1e-6 for p, _ in of]), np.array([a + 0j for _, a in of]))
        for name, of in ROWS.items()
    }
    return Basis(lines=lines, f0_hz=F0, nucleus="1H", te_s=te_s, tr_s=2.0)


def series_of(amounts, sd, rng, phases=None, hz=None, widths=None):
    """Return spectra whose amplitudes are `amounts`, shape (n, 3), with noise `sd` of a complex sample."""
    basis, count = small_basis(), len(amounts)
    phases, hz, widths = (np.zeros(count) if one is None else np.asarray(one) for one in (phases, hz, widths))
    functions = np.array([basis.fid(name, SAMPLES, DWELL) for name in basis.names])
    fids = np.asarray(amounts) @ functions
    fids = fids * np.exp(-np.pi * (4.0 + widths[:, None]) * T - (np.pi * 3.0 * T) ** 2 / (4 * np.log(2)))
    fids = fids * np.exp(2j * np.pi * hz[:, None] * T + 1j * phases[:, None])
    noise = rng.normal(size=fids.shape) + 1j * rng.normal(size=fids.shape)
    return Transients(
        data=fids + sd / np.sqrt(2) * noise,
        dims=("series", "t"),
        dwell_s=DWELL,
        f0_hz=F0,
        te_s=0.03,
        tr_s=2.0,
        source="synthetic",
    )
