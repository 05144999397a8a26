"""From a protocol to its basis set in four lines, and a picture of it (docs/basis.png by default).

Run: python examples/basis_set.py [PICTURE]
"""

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import simulate

mpl.use("Agg")
import matplotlib.pyplot as plt

SHOWN = ("NAA", "Cr", "GPC", "Glu", "Gln", "Ins", "GABA", "GSH", "Tau", "Lac")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "press.seq"
    write_sequence(build(load_protocol("press-3t-te30"), load_scanner("siemens-prisma")), path)
    basis = simulate(path, SHOWN)

SAMPLES = 16384  # transition lines are rendered at any length
ppm = ppm_axis(SAMPLES, basis.dwell_s, basis.f0_hz, basis.reference_ppm)
shown = (ppm > 0.8) & (ppm < 4.3)
spectra = {name: to_spectrum(basis.fid(name, SAMPLES, linewidth_hz=3.0)).real[shown] for name in SHOWN}

figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
for k, (name, spectrum) in enumerate(spectra.items()):
    axes.plot(ppm[shown], 0.85 * spectrum / np.abs(spectrum).max() - k, lw=1.1, color=f"C{k}")
    axes.text(4.32, -k, name, ha="right", va="center", color=f"C{k}")
axes.set(xlim=(4.3, 0.8), xlabel="chemical shift / ppm", yticks=[])
axes.set_title("PRESS, 3 T, TE 30 ms: each metabolite as the exported .seq makes it (3 Hz wide)")
axes.spines[["left", "right", "top"]].set_visible(False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "docs/basis.png", dpi=110)
