"""Edited scans of the virtual scanner through the whole reconstruction: what alignment leaves in the difference.

Drift of 10 Hz, phase jitter of 30 degrees, one shot in eight spoiled, eddy currents and residual water, at a
single-shot NAA SNR of 10. For each seed the difference spectrum is compared with the truth; scale, frequency
and phase of the whole scan, which a fit finds too, come from the sum of the conditions. The edited area is found as a
fit finds it, beside what the difference has of all else: in a window, lines of others count too, and noise and an
error of phase with them. The area in a window is shown beside it.

    python benchmarks/edited.py [PROTOCOL] [--seeds N] [--shots N] [--coils N] [--snr X]
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsespec.conventions import ppm_axis, swap_sense, to_spectrum
from pulsespec.protocols import load_protocol
from pulsespec.recon import virtual
from pulsespec.recon.align import spectral_registration
from pulsespec.recon.edited import combined
from pulsespec.recon.editing import from_definitions
from pulsespec.recon.pipeline import ReconSettings, recon
from pulsespec.recon.transients import Scan, Transients
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator.conditions import simulate_conditions
from pulsespec.simulator.faults import Faults, load_faults
from pulsespec.simulator.phantom import load_phantom
from pulsespec.simulator.play import VirtualScan, play
from pulsespec.simulator.setup import Setup, set_up
from pulsespec.simulator.signals import signals
from pulsespec.simulator.timeline import read_played

CHOLINE_PPM = (3.14, 3.30)
TARGETS_PPM = {"gaba": (2.907, 3.147), "gsh": (2.85, 3.06), "lac": (1.2, 1.45)}
"""Where the edited signal of each difference lies; that of GABA is symmetric about creatine, so that what an error of
phase or frequency leaves of creatine has no area in it."""
NAMES = {"gaba": "GABA", "gsh": "GSH", "lac": "Lac"}
GABA_MM, GSH_MM = 2.0, 1.5
_FRAME_PPM = (1.8, 4.2)
_FIT_PPM = {"gaba": (1.8, 4.2), "gsh": (1.8, 4.2), "lac": (0.5, 4.2)}
_LEAST = 0.02
"""Least size of a component of the difference, over the edited one's, to be fitted."""


@dataclass(frozen=True)
class Trial:
    """A sequence on the virtual scanner."""

    setup: Setup
    definitions: Mapping[str, object]


def prepared(protocol: str, shots: int, folder: Path, names: tuple[str, ...] | None = None) -> Trial:
    """Build and simulate an edited protocol with `shots` metabolite shots over all conditions."""
    asked = load_protocol(protocol)
    assert asked.editing is not None
    short = replace_averages(asked, shots // len(asked.editing.conditions_ppm))
    path = folder / f"{protocol}.seq"
    write_sequence(build(short, load_scanner("siemens-prisma")), path)
    phantom = load_phantom("grey-matter")
    amounts = {**phantom.concentrations_mm, "GABA": GABA_MM, "GSH": GSH_MM}
    chosen = {name: mm for name, mm in amounts.items() if names is None or name in names}
    bases = simulate_conditions(path, list(chosen))
    return Trial(set_up(path, bases, replace(phantom, concentrations_mm=chosen)), read_played(path)[1])


def replace_averages(protocol: object, averages: int) -> object:
    return protocol.model_copy(update={"averages": averages})


def scan_of(played: VirtualScan, definitions: Mapping[str, object]) -> Scan:
    """Return a virtual scan as it is read together with its `.seq`, which says what the conditions are."""
    scan = virtual.scan_of(played)
    assert scan.metabolite is not None
    header = {**scan.metabolite.header, "editing": from_definitions(definitions)}
    return replace(scan, metabolite=replace(scan.metabolite, header=header))


def differences(
    played: VirtualScan, definitions: Mapping[str, object], settings: ReconSettings | None = None
) -> dict[str, tuple[Transients, NDArray[np.complex128], NDArray[np.complex128]]]:
    """Return each difference with its spectrum, in the frame and units of the truth, and the true one."""
    done = recon(scan_of(played, definitions), settings).metabolite
    assert done is not None
    truth = swap_sense(played.truth.metabolite_fids)
    parts = combined(done)
    scale, turn = _frame(parts["sum"], truth.sum(axis=0))
    found = {}
    for name, part in parts.items():
        weights = np.array(part.header["condition_weights"])
        found[name] = (part, to_spectrum(part.data * turn) / scale, to_spectrum(weights @ truth))
    return found


def _frame(data: Transients, truth: NDArray[np.complex128]) -> tuple[float, NDArray[np.complex128]]:
    """Return scale, and factor of each sample, that bring the sum of all conditions onto the truth."""
    frequency, phase = spectral_registration(data.data[None], data.dwell_s, truth)
    t = np.arange(data.samples) * data.dwell_s
    turn = np.exp(-1j * (2 * np.pi * frequency[0] * t + phase[0]))
    seen = inside(data, _FRAME_PPM)
    wanted, got = to_spectrum(truth)[seen], to_spectrum(data.data * turn)[seen]
    return float(np.vdot(wanted, got).real / np.vdot(wanted, wanted).real), turn


def inside(data: Transients, span: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which points of the spectrum lie in a range of ppm."""
    ppm = ppm_axis(data.samples, data.dwell_s, data.f0_hz, data.reference_ppm)
    return np.asarray((ppm > span[0]) & (ppm < span[1]))


def components(setup: Setup, faults: Faults) -> dict[str, NDArray[np.complex128]]:
    """Return the true FIDs of each metabolite, and of all macromolecules as one; shape (conditions, samples) each."""
    whole = replace(setup.phantom, snr_ppm=None)
    parts = {
        name: replace(setup, broad={}, phantom=replace(whole, concentrations_mm={name: mm}, broad_mm={}))
        for name, mm in whole.concentrations_mm.items()
    }
    if whole.broad_mm:
        parts["macromolecules"] = replace(setup, phantom=replace(whole, concentrations_mm={}))
    return {name: swap_sense(signals(part, faults, 0).metabolite) for name, part in parts.items()}


def fitted(data: Transients, got: NDArray[np.complex128], parts: Mapping[str, NDArray[np.complex128]],
           target: str) -> float:  # fmt: skip
    """Return the edited metabolite's amplitude over the true one: least squares on the real difference spectrum."""
    seen = inside(data, _FIT_PPM[target])
    weights = np.array(data.header["condition_weights"])
    lines = {name: to_spectrum(weights @ fids).real[seen] for name, fids in parts.items()}
    own = lines.pop(NAMES[target])
    others = [line for line in lines.values() if np.linalg.norm(line) > _LEAST * np.linalg.norm(own)]
    return float(np.linalg.lstsq(np.stack([own, *others], axis=1), got.real[seen], rcond=None)[0][0])


@dataclass(frozen=True)
class Figures:
    """What is wrong with one difference spectrum, in percent."""

    edited: float
    """Amplitude of the edited metabolite, fitted beside the others, over the true one, less 1."""
    window: float
    """Area in the range of the edited signal over the true one, less 1."""
    choline: float
    """Area left in the range of choline, less the true one, over the area of choline without editing."""
    residue: NDArray[np.float64]
    """Real spectrum left in that range, over the height of choline; shape (points,)."""


def measured(data: Transients, got: NDArray[np.complex128], true: NDArray[np.complex128],
             parts: Mapping[str, NDArray[np.complex128]], target: str) -> Figures:  # fmt: skip
    """Compare a difference spectrum with the truth; `parts` are the FIDs that it consists of."""
    choline = to_spectrum(sum(fids[-1] for fids in parts.values()))
    edited, around = inside(data, TARGETS_PPM[target]), inside(data, CHOLINE_PPM)
    area, wanted = got.real[edited].sum(), true.real[edited].sum()
    left = (got - true).real[around]
    height = choline.real[around]
    return Figures(
        100 * (fitted(data, got, parts, target) - 1),
        100 * (area / wanted - 1),
        100 * left.sum() / height.sum(),
        100 * left / height.max(),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", nargs="?", default="mega-press-3t-gaba")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--shots", type=int, default=320)
    parser.add_argument("--coils", type=int, default=2)
    parser.add_argument(
        "--snr", type=float, default=10.0, help="NAA in a single shot; 1e4 shows what is systematic"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial = prepared(asked.protocol, asked.shots, Path(folder))
    faults = load_faults("trial", coils=asked.coils, snr=asked.snr)
    parts = components(trial.setup, faults)
    print(
        f"{asked.protocol}, {asked.shots} shots, {asked.coils} coils, {asked.seeds} seeds; bias and sd in percent"
    )
    print(
        "difference    edited, fitted          in a window             choline residue         its largest point"
    )
    table: dict[str, list[Figures]] = {}
    for seed in range(asked.seeds):
        for name, figures in trial_figures(trial, parts, faults, seed).items():
            table.setdefault(name, []).append(figures)
    for name, rows in table.items():
        columns = np.array([(row.edited, row.window, row.choline) for row in rows]).T
        largest = np.abs(np.mean([row.residue for row in rows], axis=0)).max()
        shown = [
            f"{one.mean():7.2f} +- {one.std() / np.sqrt(len(rows)):4.2f} {one.std():7.2f}" for one in columns
        ]
        print(f"{name:10s} {'   '.join(shown)} {largest:16.2f}")


def trial_figures(
    trial: Trial, parts: Mapping[str, NDArray[np.complex128]], faults: Faults, seed: int
) -> dict[str, Figures]:
    """Return the figures of every difference of one scan."""
    played = play(trial.setup, seed=seed, faults=faults)
    made = {}
    for name, (data, got, true) in differences(played, trial.definitions).items():
        target = {"diff": "gaba"}.get(name, name.removeprefix("diff-"))
        if target in TARGETS_PPM:
            made[name] = measured(data, got, true, parts, target)
    return made


if __name__ == "__main__":
    main()
