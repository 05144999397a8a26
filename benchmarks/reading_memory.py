"""Time and peak memory of reading raw data, beside the size of their samples, for every streamed format.

Files are written here to their published layouts (32 coils, 4096 samples) and each is read in a process of its
own, whose memory after all imports is the baseline (Linux: VmHWM, for `getrusage` begins with the parent's).
With --recon they are read and processed.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import ismrmrd
import numpy as np

COILS, SAMPLES, DWELL_S, F0_HZ = 32, 4096, 2.5e-4, 123.25e6

READ = """
import json, re, sys, time
from pathlib import Path
from pulsespec.recon.formats import Known
from pulsespec.recon.pipeline import recon
from pulsespec.recon.read import read
import pydicom, h5py, mapvbvd, scipy.io, scipy.optimize, scipy.linalg
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024
path, sequence, whole = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
known = Known(Path(sequence) if sequence else None)
before, start = peak(), time.perf_counter()
scan = read([path], known=known)
if whole:
    scan = recon(scan)
shape = list((scan.metabolite or scan.water).data.shape)
print(json.dumps({"bytes": peak() - before, "seconds": time.perf_counter() - start, "shape": shape}))
"""


def shot(rng, number):
    """Three lines of NAA, Cr and Cho under water that is suppressed, with noise, sense of the scanner."""
    t = np.arange(SAMPLES) * DWELL_S
    hz = (np.array([2.01, 3.03, 3.2, 4.65]) - 4.65) * F0_HZ * 1e-6
    clean = (np.exp((2j * np.pi * hz[:, None] - 12) * t) * [[1.0], [0.8], [0.6], [3.0]]).sum(axis=0)
    phases = np.exp(1j * np.arange(COILS))
    noise = rng.normal(0, 0.05, (COILS, 2 * SAMPLES)).astype(np.float32).view(np.complex64)
    return (phases[:, None] * clean).astype(np.complex64) + noise


def header():
    protocol = f"""tSequenceFileName = "%SiemensSeq%\\\\svs_se"
sTXSPEC.asNucleusInfo[0].lFrequency = {F0_HZ:.0f}
sRXSPEC.alDwellTime[0] = {DWELL_S * 1e9:.0f}
alTE[0] = 30000
alTR[0] = 2000000
"""
    text = f"### ASCCONV BEGIN ###\n{protocol}### ASCCONV END ###\n".encode()
    part = b"Config\0" + struct.pack("<I", 1) + b"\n" + b"MeasYaps\0" + struct.pack("<I", len(text)) + text
    length = 12288
    return struct.pack("<II", length, 2) + part.ljust(length - 8, b"\0")


def mdh(length, samples, counter, number, flags, is_vd):
    counters = [0] * 14
    counters[counter] = number
    head = struct.pack("<IiIII", length, 1, number, number, 0) + b"\0" * (20 if is_vd else 0)
    head += struct.pack("<Q16H", flags, samples, COILS, *counters)
    return head.ljust(192 if is_vd else 128, b"\0")


def write_vb(path, shots, rng):
    with path.open("wb") as file:
        file.write(header())
        for number in range(shots):
            for line in shot(rng, number):
                file.write(mdh(128 + 8 * SAMPLES, SAMPLES, 7, number, 0, False) + line.tobytes())
        file.write(mdh(128, 0, 7, 0, 1, False))


def write_vd(path, shots, rng):
    with path.open("wb") as file:
        length = 192 + COILS * (32 + 8 * SAMPLES)
        whole = len(header()) + shots * length + 192
        file.write((struct.pack("<II", 0, 1) + struct.pack("<IIQQ", 1, 1, 10240, whole)).ljust(10240, b"\0"))
        file.write(header())
        for number in range(shots):
            file.write(mdh(length, SAMPLES, 1, number, 0, True))
            for line in shot(rng, number):
                file.write(struct.pack("<I", 32 + 8 * SAMPLES).ljust(32, b"\0") + line.tobytes())
        file.write(mdh(192, 0, 1, 0, 1, True))


def write_mrd(path, shots, rng):
    xsd = ismrmrd.xsd
    head = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=round(F0_HZ))
    )
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(str(head.toXML("utf-8")).encode())
    for number in range(shots):
        acquisition = ismrmrd.Acquisition.from_array(shot(rng, number))
        acquisition.sample_time_us = DWELL_S * 1e6
        acquisition.idx.average = number
        dataset.append_acquisition(acquisition)
    dataset.close()


def write_npy(path, shots, rng):
    array = np.lib.format.open_memmap(path, "w+", np.complex64, (shots, COILS, SAMPLES))
    for number in range(shots):
        array[number] = shot(rng, number)
    array.flush()


def write_hdf5(path, shots, rng):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", (shots, COILS, SAMPLES), np.complex64)
        for number in range(shots):
            data[number] = shot(rng, number)


def write_sequence(path, shots):
    import pypulseq

    system = pypulseq.Opts(B0=F0_HZ / 42.576385e6)
    sequence = pypulseq.Sequence(system)
    for _ in range(shots):
        sequence.add_block(
            pypulseq.make_block_pulse(np.pi / 2, duration=1e-4, system=system, use="excitation")
        )
        sequence.add_block(pypulseq.make_adc(SAMPLES, dwell=DWELL_S, system=system))
    for key, value in {"Name": "fid", "B0": system.B0, "TE": 0.0, "TR": 2.0}.items():
        sequence.set_definition(key, value)
    sequence.write(str(path))


FORMATS = {
    "twix VB": ("vb.dat", write_vb),
    "twix VD": ("vd.dat", write_vd),
    "ISMRMRD": ("mrd.h5", write_mrd),
    ".npy, --seq": ("x.npy", write_npy),
    "HDF5, --seq": ("x.h5", write_hdf5),
}


def measure(path, sequence, whole):
    arguments = [sys.executable, "-c", READ, str(path), str(sequence or ""), str(int(whole))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=256)
    parser.add_argument("--recon", action="store_true", help="read and process, not read alone")
    chosen = parser.parse_args()
    size = chosen.shots * COILS * SAMPLES * 8
    print(f"{chosen.shots} shots x {COILS} coils x {SAMPLES} samples: {size / 1e6:.0f} MB of samples")
    with tempfile.TemporaryDirectory() as folder:
        sequence = Path(folder) / "fid.seq"
        write_sequence(sequence, chosen.shots)
        for name, (file, write) in FORMATS.items():
            path = Path(folder) / file
            start = time.perf_counter()
            write(path, chosen.shots, np.random.default_rng(0))
            written = time.perf_counter() - start
            found = measure(path, sequence if "--seq" in name else None, chosen.recon)
            path.unlink()
            print(
                f"{name:12s} peak {found['bytes'] / size:5.2f} x the samples, {found['seconds']:6.2f} s, "
                f"shape {found['shape']} (written in {written:.1f} s)"
            )


if __name__ == "__main__":
    main()
