"""An EPSI image reconstructed and fitted in one process, two processes and on a cluster: bits, losses, cost, memory.

    python benchmarks/image_scale.py --folder DIR                                  # 24 x 24 x 8, 4 coils: some minutes
    python benchmarks/image_scale.py --folder DIR --matrix 50x50x18 --once "2 processes"   # the whole brain

Commands as a user gives them. The cluster is a LocalCluster of two workers over tcp on 127.0.0.1, begun anew for each
command. Beside undisturbed runs: a worker killed (SIGKILL) when it has spent half of what the busiest spent, and a fit
whose own process is killed when half of its blocks are kept, and which is then given again. Compared is the SHA-256 of
every file that a command writes (`SOURCE_DATE_EPOCH` fixes the time stamps in headers); lists as `sha256sum` takes them
lie beside the outputs. Cost is the processor time of all processes, so that others on the machine count less than in
wall time; memory is the peak of each kind of process (VmHWM).
"""

import argparse
import hashlib
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from scores import table
from watching import Killer, Watched, local_cluster, watched

HEAD = (
    "",
    "wall / s",
    "CPU / s",
    "over one process",
    "main, workers, scheduler / s",
    "peak MiB of each",
    "files",
)


@dataclass
class Verb:
    """A command in all ways, whose files have to be the same."""

    name: str
    arguments: tuple[object, ...]
    output: str
    folder: Path
    workers: int
    blocks: int = 0
    """That are kept until the end; 0 where none are."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)
    alone_s: float = 0.0
    failed: bool = False

    def everywhere(self, losses: bool) -> None:
        """Run in all ways, undisturbed and with losses, and print the table."""
        self.once("one process")
        for way in (f"{self.workers} processes", f"{self.workers} workers of dask"):
            done = self.once(way)
            if losses:
                self._disturbed(way, done)
        self.show()

    def show(self) -> None:
        """Print the table."""
        print(f"\npulsespec {self.name} {' '.join(map(str, self.arguments))}")
        print(table([HEAD, *self.rows]), flush=True)

    def _disturbed(self, way: str, done: Watched) -> None:
        """Kill a worker mid-run; kill the command where it keeps blocks, and give it again."""
        self.once(f"{way}, one killed", Killer(worker_s=0.5 * done.busiest_s))
        if self.blocks:
            name = f"{way}, main killed"
            kept = self._place(name).with_name(f"{self._place(name).name}.partial")
            self.once(name, Killer(folder=kept, blocks=self.blocks // 2))
            self.once(name, again=True)

    def once(self, way: str, killer: Killer | None = None, again: bool = False) -> Watched:
        """Run in one way; note what it took and whether its files are the same."""
        output = self._place(way)
        if not again:
            shutil.rmtree(output.parent, ignore_errors=True)
            output.parent.mkdir(parents=True)
        with local_cluster(self.workers) if "dask" in way else nullcontext(("", None)) as (address, server):
            where = ("--jobs", self.workers if "processes" in way else 1)
            where = ("--cluster", address) if address else where
            done = watched((self.name, *self.arguments, "-o", output, *where), server, killer)
        self._note(f"{way}, again" if again else way, output.parent, done, killer)
        return done

    def _place(self, way: str) -> Path:
        return self.folder / f"{self.name}, {way}".replace(",", "").replace(" ", "-") / self.output

    def _note(self, way: str, folder: Path, done: Watched, killer: Killer | None) -> None:
        heard = "; ".join(w for w in done.said.splitlines() if "its worker died" in w or "resuming:" in w)
        stopped = killer is not None and killer.killed == [done.main]
        if done.code != 0 and not stopped:
            raise SystemExit(f"pulsespec {self.name}, {way}: exit {done.code}\n{done.said[-3000:]}")
        files = "killed" if stopped else self._compared(folder)
        if killer is not None and not killer.killed:
            files, self.failed = f"{files}, but nothing was killed", True
        self.alone_s = self.alone_s or done.cpu_s
        parts = ", ".join(f"{seconds:.1f}" for seconds in done.parts_s if seconds)
        peaks = ", ".join(f"{peak:.0f}" for peak in done.peaks_mib if peak)
        over = f"{100 * (done.cpu_s / self.alone_s - 1):+.1f} %"
        self.rows.append((way, f"{done.wall_s:.1f}", f"{done.cpu_s:.1f}", over, parts, peaks, files))
        print(f"{self.name}, {way}: CPU {done.cpu_s:.1f} s ({over}), {files} {heard}", flush=True)

    def _compared(self, folder: Path) -> str:
        """Return whether files are those of the first run; their digests are written beside the folder."""
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found = {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
        lines = "".join(f"{digest}  {name}\n" for name, digest in found.items())
        folder.with_name(f"{folder.name}.sha256").write_text(lines)
        if not self.first:
            self.first = found
            return f"{len(found)}, sha256 of all {hashlib.sha256(lines.encode()).hexdigest()[:12]}"
        unlike = sorted(n for n in {**found, **self.first} if found.get(n) != self.first.get(n))
        self.failed |= bool(unlike)
        return f"UNLIKE: {', '.join(unlike[:3])} ({len(unlike)})" if unlike else f"{len(found)} the same"


def scanned(options: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Return a sequence, raw data and a basis; those that exist are not made again."""
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    sequence, raw, basis = (folder / name for name in ("epsi.seq", "raw.h5", "basis.h5"))
    build = ("export", options.protocol, "--scanner", options.scanner, "--matrix", options.matrix)
    play = ("acquire", sequence, "--phantom", "brain", "--faults", "clean", "--coils", options.coils)
    play = (*play, "--snr", 25, "--jobs", options.workers, "--truth", folder / "truth")
    for path, words in ((sequence, build), (raw, play), (basis, ("simulate", sequence))):
        if not path.exists():
            done = watched((*words, "-o", path))
            print(f"{words[0]}: {done.wall_s:.0f} s, CPU {done.cpu_s:.0f} s", flush=True)
            if done.code:
                raise SystemExit(done.said[-3000:])
    return sequence, raw, basis


def go(verb: Verb, options: argparse.Namespace) -> None:
    """Run a command in one way, or in all."""
    if options.once:
        verb.once(options.once)
        verb.show()
    else:
        verb.everywhere(not options.no_losses)


def main() -> None:
    """Make a scan if there is none, and run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--protocol", default="epsi-3t-te17.6-whole-brain")
    parser.add_argument("--scanner", default="siemens-prisma")
    parser.add_argument("--matrix", default="24x24x8")
    parser.add_argument("--coils", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--block-voxels", type=int, default=64, help="few, so that a small image has some blocks"
    )
    parser.add_argument(
        "--only", choices=("recon", "fit"), help="one command; fit takes the images that are there"
    )
    parser.add_argument("--no-losses", action="store_true", help="kill nothing")
    parser.add_argument("--once", help="one way alone, such as '2 processes'")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")
    sequence, raw, basis = scanned(options)
    made = (raw, "--seq", sequence, "--filter", "hamming")
    recon = Verb("recon", made, "image.nii.gz", options.folder, options.workers)
    if options.only != "fit":
        go(recon, options)
    images = options.folder / f"recon, {options.once or 'one process'}".replace(",", "").replace(" ", "-")
    voxels = np.count_nonzero(np.asarray(nibabel.load(images / "image_brain.nii.gz").dataobj) > 0)
    how = (
        "--water",
        images / "image_water.nii.gz",
        "--mask",
        images / "image_brain.nii.gz",
        "--seq",
        sequence,
    )
    how = (images / "image.nii.gz", "--basis", basis, *how, "--block-voxels", options.block_voxels)
    blocks = -(-voxels // options.block_voxels)
    fit = Verb("fit", how, "maps", options.folder, options.workers, blocks)
    if options.only != "recon":
        go(fit, options)
        print(
            f"{voxels} voxels in {blocks} blocks; {voxels / fit.alone_s:.1f} voxels a CPU second, all of the command"
        )
    if recon.failed or fit.failed:
        raise SystemExit("not the same everywhere")


if __name__ == "__main__":
    main()
