"""A scan in memory for each named set of faults, and a picture of its shots (docs/virtual-scanner.png by default).

Run: python examples/virtual_scanner.py [PICTURE]
"""

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

from pulsespec.conventions import ppm_axis, to_spectrum
from pulsespec.protocols import load_protocol
from pulsespec.recon.virtual import scan_of
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import simulate
from pulsespec.simulator.faults import list_faults, load_faults
from pulsespec.simulator.phantom import load_phantom
from pulsespec.simulator.play import play
from pulsespec.simulator.setup import set_up
from pulsespec.simulator.truth import in_nifti_sense

mpl.use("Agg")
import matplotlib.pyplot as plt

SHOWN = 12  # shots

phantom = load_phantom("grey-matter")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "press.seq"
    write_sequence(build(load_protocol("press-3t-te30"), load_scanner("siemens-prisma")), path)
    setup = set_up(path, simulate(path, list(phantom.concentrations_mm)), phantom)

sets = list_faults()[1:]
figure, axes = plt.subplots(1, len(sets), figsize=(13, 6), sharey=True, layout="constrained")
for axis, name in zip(axes, sets, strict=True):
    played = play(setup, faults=load_faults(name), seed=1)
    data, truth = scan_of(played).metabolite, in_nifti_sense(played.truth)
    # Coils combined as well as can be: the truth knows their sensitivities and their noise.
    weights = np.linalg.solve(truth.noise_covariance, truth.sensitivities)
    combined = np.einsum("c,sct->st", weights.conj() / np.vdot(weights, truth.sensitivities), data.data)
    offset_ppm = setup.readouts[0].offset_hz / data.f0_hz * 1e6
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm + offset_ppm)
    shown = (ppm > 0.2) & (ppm < 5.2)
    spectra = to_spectrum(combined).real[:, shown] / truth.metabolite_fids[0].real.max()
    for shot in range(SHOWN):
        colour = "C3" if truth.corrupted[shot] else "0.35"
        axis.plot(ppm[shown], spectra[shot] / 20 + shot, lw=0.5, color=colour)
    axis.plot(ppm[shown], spectra.mean(axis=0) / 20 - 3, lw=1.0, color="C0")
    axis.set(xlim=(5.2, 0.2), ylim=(-5, SHOWN + 3), xlabel="chemical shift / ppm", yticks=[])
    axis.set_title(
        f"{name}: {truth.faults.coils} coils, single-shot SNR {truth.snr_shot[0]:.0f}", fontsize=10
    )
    axis.spines[["left", "right", "top"]].set_visible(False)
axes[0].set_ylabel("mean of all shots (blue), shots (red: spoiled by motion)")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "docs/virtual-scanner.png", dpi=75)
