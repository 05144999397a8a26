"""The basis sets of MARSS, and sequences of ours at their echo times."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pypulseq
import sequences_for_tests as seqs

from pulsespec.protocols import load_protocol
from pulsespec.sequences import build, load_scanner, write_sequence
from pulsespec.simulator import load_metabolites
from pulsespec.simulator.basis_facts import Given
from pulsespec.simulator.basis_files import read_basis

F0_HZ = 123.26e6
"""Of MARSS's sets: 189.8 Hz between glycine (3.548 ppm) and the acetyl line of NAA (2.008 ppm)."""
FOLDERS = {"press": "press-te30", "steam": "steam-te20-tm10", "slaser": "slaser-te20"}
PROTOCOLS = {"press": "press-3t-te30", "steam": "steam-3t-te20-tm10"}
TE1_MS = 17.0
"""Of PRESS: not stated with the data; Glu, Gln, GABA, Tau and Asp together agree best from 16 to 18 ms."""
OUR_NAMES = {"PAl": "Phe", "Eth": "EA"}
PARTS = ("Cr391", "CrNo391")
"""Two halves of creatine, which ours has whole."""
CHANGED = ("Tyr", "PE", "EA", "GPC", "GSH", "HCar")


def marss(data, kind):
    """Return the basis set of MARSS, with our names."""
    path = Path(data) / "basis-marss-siemens-3t" / FOLDERS[kind]
    basis = read_basis(path, Given(dwell_s=4e-4, f0_hz=F0_HZ)).basis
    fids = {OUR_NAMES.get(name, name): fid for name, fid in basis.fids.items() if name not in PARTS}
    return replace(basis, fids=fids)


def sequence(kind, folder):
    """Write our sequence of that kind at the echo time of MARSS's."""
    path = Path(folder) / f"{kind}.seq"
    if kind == "slaser":
        return hard_semi_laser(path)
    protocol = load_protocol(PROTOCOLS[kind])
    if kind == "press":
        protocol = protocol.model_copy(update={"te1_ms": TE1_MS})
    write_sequence(build(protocol, load_scanner("siemens-prisma")), path)
    return path


def hard_semi_laser(path, te_s=0.02, dwell_s=4e-4):
    """A hard 90x and four hard 180y at 1, 3, 5 and 7 eighths of TE, with crushers; the first sample is the echo."""
    opts = seqs.system(F0_HZ, 1e-6)
    seq = pypulseq.Sequence(opts)
    tick_s, areas = 1e-5, (2.0e4, -3.1e4, 4.7e4, 1.3e4)
    gaps = np.array([1, 2, 2, 2, 1]) * te_s / 8 - tick_s - np.array([0, 0, 0, 0, dwell_s / 2])
    moments = np.array([*areas, 0.0]) + np.array([0.0, *areas])
    for number, (gap_s, area) in enumerate(zip(gaps, moments, strict=True)):
        flip, phase = (np.pi, np.pi / 2) if number else (np.pi / 2, 0.0)
        use = "refocusing" if number else "excitation"
        pulse = seqs.hard(flip, phase, opts=opts, duration_s=2e-6, use=use)
        seq.add_block(pulse, pypulseq.make_delay(tick_s))
        spoil = pypulseq.make_trapezoid(
            "z", area=area, duration=round(gap_s / 1e-5) * 1e-5, rise_time=1e-4, fall_time=1e-4, system=opts
        )
        seq.add_block(spoil)
    seq.add_block(seqs.adc(opts, 1024, dwell_s))
    return seqs.write(seq, path, F0_HZ, TE=te_s, ReceiverPPM=4.65)


def changed_systems():
    """Return a TOML table of `CHANGED`, with what MARSS seems to have: no couplings within a CH2, and two others."""
    return "\n".join(_changed(name, metabolite) for name, metabolite in load_metabolites(CHANGED).items())


def _changed(name, metabolite):
    text = [f"[{name}]", 'source = "changed towards MARSS"']
    for system in metabolite.systems:
        shifts, j_hz = system.shifts_ppm.copy(), system.j_hz.copy()
        if name == "HCar":
            shifts[np.isin(shifts, (3.185, 3.003))] = 3.19
        elif name != "GSH":
            j_hz[j_hz < 0] = 0.0  # those within a CH2 are the negative ones of these
        elif system.name == "glyc":
            shifts = np.append(shifts, 7.154)
            j_hz = np.array([[0, 0, 6.5], [0, 0, 6.5], [6.5, 6.5, 0]])
        pairs = [[i, k, float(j_hz[i, k])] for k in range(len(shifts)) for i in range(k) if j_hz[i, k]]
        text += [f"[[{name}.systems]]", f"shifts_ppm = {shifts.tolist()}", f"scale = {float(system.scale)}"]
        text += [f"couplings_hz = {pairs}"]
        partners = [
            f'{{ nucleus = "{p.nucleus}", spin = {p.spin}, j_hz = {p.j_hz.tolist()} }}'
            for p in system.partners
        ]
        text += [f"partners = [{', '.join(partners)}]"] if partners else []
    return "\n".join(text)
