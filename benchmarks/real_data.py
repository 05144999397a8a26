"""Every scan in scanner format through `pulsespec recon` without flags: what it is, how good, its time and memory.

    PULSESPEC_DATA=/path/to/data python benchmarks/real_data.py [--only NAME ...]

A scan is one command: metabolite data and, where there are any, their water references. Time and memory are those of
the whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DW_STEAM = "philips-7t-dw-steam/InVivoData1_X____DWS_invivo_3b_+b0"
MM = "philips-3t-press30-mm/sub-01_ses-01_PRESS"
STEAM = "siemens-7t-steam-te11"
SCANS = {
    "Siemens 7T semi-LASER water": ("siemens-7t-slaser-water/*.dat",),
    "Siemens 3T RDA": ("siemens-3t-rda-dicom/*.rda",),
    "Siemens 3T XA60 DICOM": ("siemens-3t-rda-dicom/*.dcm",),
    "Philips 3T phantom": ("philips-3t-phantom/*_WS.SDAT", "philips-3t-phantom/*_W.SDAT"),
    "Philips 3T PRESS 30": (f"{MM}_raw-act*.SDAT", f"{MM}_raw-ref*.SDAT"),
    "Philips 3T inverted": (f"{MM}-Inverted*raw-act*.SDAT", f"{MM}-Inverted*raw-ref*.SDAT"),
    "Philips 7T DW-STEAM": (f"{DW_STEAM}_Metab*.SDAT", f"{DW_STEAM}_Water*.SDAT"),
    "Siemens 7T STEAM, NIfTI-MRS": tuple(
        f"{STEAM}/{part}.nii.gz" for part in ("metab_raw", "wref_raw", "ecc", "quant_raw")
    ),
    "MEGA-PRESS, NIfTI-MRS": ("mega-press-3t-synthetic/*.nii.gz",),
    "Varian 3T macromolecules": ("macromolecules-steam/3T*.fid",),
    "Varian 7T macromolecules": ("macromolecules-steam/7T*.fid",),
}
"""Files by pattern below the folder of the data; those of the first pattern are the metabolites."""
EACH = {
    "GE 1.5T": "ge-1p5t-press30/*.7",
    "Pulseq 3T": "siemens-3t-pulseq-phantom/*.dat",
}
"""Scans of one file each."""
PAIRS = {"Philips 3T PRESS 35": ("philips-3t-press35/*/*_act.[Ss]*[Tt]", "_act", "_ref")}
"""Scans whose water reference differs in one part of its name."""


RUN = "from pulsespec.cli import main; main()"
DESCRIBE = """
import sys
from pathlib import Path
from pulsespec.errors import PulsespecError
from pulsespec.recon.formats import format_of
from pulsespec.recon.read import read
path = Path(sys.argv[1])
try:
    form, scan = format_of(path).name, read([path])
    data = scan.metabolite or scan.water
    both = " + water" if scan.metabolite is not None and scan.water is not None else ""
    print(form, "|", " x ".join(f"{name} {data.size(name)}" for name in data.dims) + both)
except PulsespecError as error:
    print("? |", error)
"""
"""Run in processes of their own: a child counts what its parent had in memory when it was born."""


def scans(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each scan."""
    found = {name: [p for one in parts for p in sorted(folder.glob(one))] for name, parts in SCANS.items()}
    for name, pattern in EACH.items():
        found |= {f"{name} {path.stem.split('_1.5T')[0]}": [path] for path in sorted(folder.glob(pattern))}
    for name, (pattern, metabolite, water) in PAIRS.items():
        for path in sorted(folder.glob(pattern)):
            other = path.with_name(path.name.replace(metabolite, water))
            found[f"{name} {path.parent.name}"] = [path, *([other] if other.exists() else [])]
    return {name: paths for name, paths in found.items() if paths}


def processed(paths: list[Path]) -> tuple[dict, str, float, float]:
    """Run the command; return its JSON, the last line of its words, seconds and peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        output, words = Path(folder) / "out.json", Path(folder) / "words"
        command = [sys.executable, "-c", RUN, "recon", *map(str, paths), "--json", "-o", f"{folder}/x.nii.gz"]
        start = time.perf_counter()
        with output.open("w") as out, words.open("w") as err:
            child = subprocess.Popen(command, stdout=out, stderr=err)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        last = (words.read_text().strip().splitlines() or [""])[-1]
        result = json.loads(output.read_text()) if child.returncode == 0 else {}
    return result, last, seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Print a row for each scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", help="scans whose name has one of these words")
    options = parser.parse_args()
    folder = Path(os.environ["PULSESPEC_DATA"])
    print(
        "| scan | format | dims | SNR | linewidth ppm | verdict | s | MiB |\n|---|---|---|---|---|---|---|---|"
    )
    for name, paths in scans(folder).items():
        if options.only and not any(word in name for word in options.only):
            continue
        result, words, seconds, memory = processed(paths)
        quality = result.get("quality", {})
        measures = quality.get("measures", {})
        snr, width = (measures.get(key, {}).get("value") for key in ("snr", "linewidth_ppm"))
        shown = [f"{value:.3g}" if value is not None else "" for value in (snr, width)]
        described = [sys.executable, "-c", DESCRIBE, str(paths[0])]
        what = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
        verdict = quality.get("verdict") or words
        print(
            f"| {name} | {what} | {' | '.join(shown)} | {verdict} | {seconds:.1f} | {memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
