"""One public Pulseq PRESS file both ways: simulated for water and fat, and its raw data reconstructed."""

import os
import tempfile
from pathlib import Path

import numpy as np

from pulsespec.conventions import to_spectrum
from pulsespec.recon.formats import Known
from pulsespec.recon.pipeline import recon
from pulsespec.recon.read import read
from pulsespec.simulator import simulate

# Triglyceride main peaks, ppm: Hamilton et al. 2011, NMR Biomed 24:784-790.
FAT = """
[water]
source = "4.65 ppm by definition of the reference"
[[water.systems]]
shifts_ppm = [4.65, 4.65]
[fat]
source = "Hamilton et al. 2011, NMR Biomed 24:784-790"
[[fat.systems]]
shifts_ppm = [1.3, 1.3]
"""


def strongest_hz(fid: np.ndarray, dwell_s: float, low: float, high: float) -> tuple[float, float]:
    """Frequency (NIfTI-MRS sense) and height of the strongest peak in a range, Hann window, zero-filled 16 times."""
    n = 16 * fid.size
    padded = np.concatenate([fid * np.hanning(fid.size), np.zeros(n - fid.size)])
    frequency = np.fft.fftshift(np.fft.fftfreq(n, dwell_s))
    size = np.abs(to_spectrum(padded))
    inside = np.flatnonzero((frequency >= low) & (frequency <= high))
    peak = inside[np.argmax(size[inside])]
    return float(frequency[peak]), float(size[peak])


def main() -> None:
    folder = Path(os.environ["PULSESPEC_DATA"]) / "siemens-3t-pulseq-phantom"
    sequence, raw = folder / "06_PRESS_center.seq", folder / "06_PRESS_center.dat"
    scan = recon(read([raw], known=Known(sequence)))
    data = scan.metabolite or scan.water
    assert data is not None
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "phantom.toml"
        table.write_text(FAT)
        basis = simulate(sequence, ["water", "fat"], f0_hz=data.f0_hz, extra=table)
    print(f"f0 {data.f0_hz * 1e-6:.5f} MHz, {data.samples} points at {data.dwell_s * 1e6} us, as in the .seq")
    water, height = strongest_hz(data.data, data.dwell_s, -100, 100)
    t = np.arange(data.samples) * data.dwell_s
    print(f"water: measured at {water:+.2f} Hz from the receiver")
    echo = t[np.argmax(np.convolve(np.abs(data.data), np.ones(201) / 201, mode="same")[:2000])]
    print(f"largest signal {echo * 1e3:.0f} ms into the readout")
    for name in ("water", "fat"):
        line = basis.fid(name, linewidth_hz=2.0)
        simulated, _ = strongest_hz(line, basis.dwell_s, -600, 600)
        window = (simulated + water - 40, simulated + water + 40)
        measured, size = strongest_hz(data.data, data.dwell_s, *window)
        print(
            f"{name}: simulated {simulated:+.2f} Hz from water, measured {measured - water:+.2f} Hz from water, "
            f"height {size / height:.2e} of water; amplitude kept by the voxel {abs(basis.fid(name)[0]) / 2:.3f}"
        )


if __name__ == "__main__":
    main()
