"""Every real file below a folder, damaged in many ways, through the readers: what came of it.

Each damaged copy is read in a child process under a watchdog and a limit of memory. The script ends with 1 where
there was a crash, a hang, an error that is none of ours or does not name the file, or a scan of another shape.
"""

import argparse
import os
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import fuzz_for_tests as fuzzing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("PULSESPEC_DATA"))
    parser.add_argument("--count", type=int, default=50, help="damaged copies of each file")
    parser.add_argument("--recon", type=int, default=3, help="how many of them go through recon too")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first copy: another one, other damage"
    )
    parser.add_argument("--only", default="", help="part of the path of the files")
    parser.add_argument("--most-mb", type=float, default=20.0, help="leave out larger files")
    parser.add_argument("--limit-s", type=float, default=30.0, help="longer than this is a hang")
    chosen = parser.parse_args()
    if chosen.folder is None:
        parser.error("name a folder, or set PULSESPEC_DATA")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    files: Counter[str] = Counter()
    failures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = list(fuzzing.known_files(Path(chosen.folder)))
    with fuzzing.Worker(chosen.limit_s) as worker, fuzzing.Worker(3 * chosen.limit_s, recon=True) as whole:
        for name, path in known:
            if chosen.only not in str(path) or path.stat().st_size > chosen.most_mb * 1e6:
                continue
            files[name] += 1
            runs = ((worker, range(chosen.first, chosen.first + chosen.count)),)
            runs += ((whole, range(chosen.first, chosen.first + chosen.recon)),)
            for which, numbers in runs:
                for number, done, outcome in fuzzing.fuzz(path, numbers, which):
                    counts[name][outcome.kind] += 1
                    if outcome.kind in fuzzing.FAILURES:
                        step = "recon" if which is whole else "read"
                        failures.append(
                            f"{outcome.kind}: {path} seed {number} ({done}, {step}): {outcome.words}"
                        )
                        print(failures[-1], file=sys.stderr, flush=True)
    kinds = list(dict.fromkeys(kind for row in counts.values() for kind in row))
    print("| format | files | mutations | " + " | ".join(kinds) + " |")
    print("|---" * (3 + len(kinds)) + "|")
    for name, row in counts.items():
        print(
            f"| {name} | {files[name]} | {row.total()} | "
            + " | ".join(str(row[kind]) for kind in kinds)
            + " |"
        )
    total = sum(counts.values(), Counter())
    print(
        f"| all | {files.total()} | {total.total()} | "
        + " | ".join(str(total[kind]) for kind in kinds)
        + " |"
    )
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
