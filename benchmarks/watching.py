"""Commands of pulsespec that are watched: processor time and memory of all their processes, and one killed mid-run.

Shared by benchmarks; Linux alone (`/proc`).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

RUN = "from pulsespec.cli import main; main()"
_LOOK_S = 0.1
_WORKER = b"spawn_main"
"""In the command line of a process that computes blocks, of a pool or under dask's nanny."""
_TICKS = os.sysconf("SC_CLK_TCK")
_SERVE = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    options = dict(threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=50)
    with LocalCluster(n_workers=int(sys.argv[1]), **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@dataclass
class Seen:
    """What was seen of one process."""

    worker: bool = False
    before_s: float = 0.0
    """Processor time that it had when the command began."""
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    @property
    def took_s(self) -> float:
        """Processor time that it has spent since."""
        return self.cpu_s - self.before_s


@dataclass(frozen=True)
class Watched:
    """What became of one command."""

    code: int
    wall_s: float
    said: str
    main: int
    seen: Mapping[int, Seen]

    @property
    def cpu_s(self) -> float:
        """Of all processes."""
        return sum(one.took_s for one in self.seen.values())

    @property
    def busiest_s(self) -> float:
        """Of the worker that worked most."""
        return max((one.took_s for one in self.seen.values() if one.worker), default=0.0)

    @property
    def parts_s(self) -> tuple[float, float, float]:
        """Processor time of the command's own process, of its workers together, and of what else served it."""
        main, work = self.seen[self.main].took_s, sum(one.took_s for one in self.seen.values() if one.worker)
        return main, work, self.cpu_s - main - work

    @property
    def peaks_mib(self) -> tuple[float, float, float]:
        """Of the command's own process, of its largest worker, and of what else served it."""
        main = self.seen[self.main].peak_mib
        workers = [one.peak_mib for one in self.seen.values() if one.worker]
        others = [one.peak_mib for pid, one in self.seen.items() if not one.worker and pid != self.main]
        return main, max(workers, default=0.0), max(others, default=0.0)


@dataclass
class Killer:
    """Kills one process (SIGKILL) when it is time."""

    worker_s: float = float("inf")
    """Processor time after which a worker is killed."""
    folder: Path | None = None
    """Of kept blocks."""
    blocks: int = 1
    """Number of kept blocks at which the command itself is killed."""
    killed: list[int] = field(default_factory=list)

    def look(self, main: int, seen: Mapping[int, Seen]) -> None:
        """Kill if it is time."""
        due = [pid for pid, one in seen.items() if one.worker and one.took_s >= self.worker_s]
        if self.folder is not None and sum(1 for _ in self.folder.glob("*.block")) >= self.blocks:
            due = [main]
        if due and not self.killed:
            self.killed.append(due[0])
            with suppress(ProcessLookupError):
                os.kill(due[0], signal.SIGKILL)


def watched(arguments: Sequence[object], server: int | None = None, killer: Killer | None = None) -> Watched:
    """Run one command of pulsespec, and watch it and a server of a cluster with all their children."""
    seen: dict[int, Seen] = {}
    servers = [] if server is None else [server]
    _look(servers, seen)
    for one in seen.values():
        one.before_s = one.cpu_s
    line = [sys.executable, "-c", RUN, *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read() if process.stdout else ""))
    reader.start()
    while process.poll() is None:
        _look([process.pid, *servers], seen)
        if killer is not None:
            killer.look(process.pid, seen)
        time.sleep(_LOOK_S)
    wall = time.perf_counter() - start
    _look(servers, seen)
    reader.join()
    return Watched(process.returncode, wall, "".join(said), process.pid, seen)


@contextmanager
def local_cluster(workers: int) -> Iterator[tuple[str, int]]:
    """Yield the address of a LocalCluster over loopback and its process, in which the scheduler is a thread."""
    line = [sys.executable, "-c", _SERVE, str(workers)]
    started = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdin is not None
    assert started.stdout is not None
    try:
        yield started.stdout.readline().strip(), started.pid
    finally:
        started.stdin.close()
        started.wait()


def _look(roots: Sequence[int], seen: dict[int, Seen]) -> None:
    """Note processor time and peak memory of processes and of all that descend from them."""
    for pid in _family(roots):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        one = seen.setdefault(pid, Seen())
        one.worker |= _WORKER in line  # one that has ended has no command line any more
        one.cpu_s = max(one.cpu_s, sum(map(int, ticks)) / _TICKS)
        kib = [int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM")]
        one.peak_mib = max(one.peak_mib, *(each / 1024 for each in kib), 0.0)


def _family(roots: Sequence[int]) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, more = list(roots), list(roots)
    while more:
        children = parents.get(more.pop(), [])
        found += children
        more += children
    return found
