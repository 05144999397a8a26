"""Files of scanner formats, written to their published layouts by code that shares nothing with the readers."""

import struct

import numpy as np

SPAR = """!-- comment
samples : {samples}
rows : {rows}

synthesizer_frequency : 127736713
sample_frequency : 2000
nucleus : 1H
echo_time : 35
repetition_time : 2000
averages : 64
lr_size : 20
ap_size : 30
cc_size : 40
lr_off_center : 5
ap_off_center : -7
cc_off_center : 9
lr_angulation : 0
ap_angulation : 0
cc_angulation : 90
patient_name : Somebody
spec_num_col : {samples}
spec_num_row : {rows}
dim1_pnts : {samples}
placeholder1 :
placeholder2 :
"""


def vax(value):
    """One VAX F float: sign, exponent biased by 128, fraction of a mantissa in [0.5, 1); words swapped."""
    if value == 0:
        return b"\0\0\0\0"
    mantissa, exponent = np.frexp(abs(value))
    bits = (int(value < 0) << 31) | ((int(exponent) + 128) << 23) | (round(mantissa * 2**24) & 0x7FFFFF)
    return struct.pack("<HH", bits >> 16, bits & 0xFFFF)


def write_sdat(folder, fids, stem="scan"):
    """Write SDAT and SPAR; `fids` of shape (rows, samples) in the sense of the file, which is Pulseq's."""
    rows, samples = fids.shape
    flat = np.stack([fids.real, fids.imag], axis=-1).ravel()
    (folder / f"{stem}.SDAT").write_bytes(b"".join(vax(float(value)) for value in flat))
    (folder / f"{stem}.SPAR").write_text(SPAR.format(samples=samples, rows=rows))
    return folder / f"{stem}.SDAT"


def brain_like(samples=1024, dwell_s=5e-4, f0_hz=127.736713e6, water=20.0, width_hz=5.0):
    """A FID with the singlets of NAA, Cr and Cho and some water, NIfTI-MRS sense."""
    t = np.arange(samples) * dwell_s
    peaks = {2.01: 3.0, 3.03: 2.0, 3.21: 1.4, 3.92: 1.2, 4.65: water}
    parts = [a * np.exp(2j * np.pi * (4.65 - ppm) * f0_hz * 1e-6 * t) for ppm, a in peaks.items()]
    return sum(parts) * np.exp(-np.pi * width_hz * t)
