"""Damaged files through the readers, each in a process of its own that a watchdog may end.

`mutate` makes one damaged copy from a seed; `Worker` reads it in a child process and says what became of it. What is
wrong is listed in `FAILURES`; all else is as it should be: one clear error, or the scan that was there.
"""

import gzip
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FAILURES = (
    "crash",
    "hang",
    "other error",
    "error without the file's name",
    "other shape",
    "nonsense facts",
    "spread",
)
"""Outcomes that must not be. "spread": bytes of the payload changed more samples than they hold."""
MEMORY = 6 << 30
COMPANIONS = ("fid", "fid.method", "ser", "rawdata.job0", "procpar", "acqp", "method")
"""Names of files that belong to a folder, not to files of their stem."""


@dataclass(frozen=True)
class Outcome:
    """What reading one damaged file came to."""

    kind: str
    words: str = ""


def companions(path: Path) -> list[Path]:
    """Return the files that are read with `path`: of the same stem, or all of a folder that is one scan."""
    if path.name.lower() in COMPANIONS:
        return sorted(p for p in path.parent.iterdir() if p.is_file())
    stem = path.name.split(".")[0]
    return sorted(p for p in path.parent.iterdir() if p.is_file() and p.name.split(".")[0] == stem)


def seeded(name: str, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), number])


def truncate(raw: bytearray, rng: Any) -> None:
    del raw[int(rng.integers(0, len(raw))) :]


def flip_bit(raw: bytearray, rng: Any) -> None:
    raw[_place(raw, rng)] ^= 1 << int(rng.integers(8))


def set_bytes(raw: bytearray, rng: Any) -> None:
    at, size = _place(raw, rng), int(rng.integers(1, 9))
    fill = [b"\0", b"\xff", b"\x7f", rng.bytes(1)][int(rng.integers(4))]
    raw[at : at + size] = fill * len(raw[at : at + size])


def set_integer(raw: bytearray, rng: Any) -> None:
    values = (0, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, int(rng.integers(2**32)))
    at = _place(raw, rng) // 4 * 4
    order = "little" if rng.integers(2) else "big"
    if at + 4 <= len(raw):
        raw[at : at + 4] = values[int(rng.integers(len(values)))].to_bytes(4, order)


def delete_run(raw: bytearray, rng: Any) -> None:
    at = _place(raw, rng)
    del raw[at : at + int(rng.integers(1, 65))]


def insert_run(raw: bytearray, rng: Any) -> None:
    at = _place(raw, rng)
    raw[at:at] = rng.bytes(int(rng.integers(1, 65)))


def copy_run(raw: bytearray, rng: Any) -> None:
    start, at, size = _place(raw, rng), _place(raw, rng), int(rng.integers(1, 257))
    piece = bytes(raw[start : start + size])
    raw[at : at + len(piece)] = piece


def change_number(raw: bytearray, rng: Any) -> None:
    """Replace a number written as text, near a random place of the first part, by one that is no good there."""
    values = (b"0", b"-1", b"1e300", b"nan", b"", b"99999999999", b"3", b"1.5", b"x")
    digits = [i for i in range(min(len(raw), 200_000)) if 48 <= raw[i] <= 57]
    if not digits:
        return
    at = digits[int(rng.integers(len(digits)))]
    end = at
    while end < len(raw) and (48 <= raw[end] <= 57 or raw[end] == 46):
        end += 1
    raw[at:end] = values[int(rng.integers(len(values)))]


def _place(raw: bytearray, rng: Any) -> int:
    """Return a place: half of them in the first 2 kB, where most headers are."""
    end = len(raw) if rng.integers(2) else min(len(raw), 2048)
    return int(rng.integers(0, max(end, 1)))


MUTATIONS: tuple[Callable[[bytearray, Any], None], ...] = (
    *(truncate, flip_bit, set_bytes, set_integer, delete_run, insert_run, copy_run, change_number),
)
IN_PLACE = (flip_bit, set_bytes, set_integer, copy_run)


def mutate(files: list[Path], folder: Path, number: int) -> tuple[str, int]:
    """Write copies of `files` to `folder`, one of them damaged; return what was done and how many bytes changed.

    -1 bytes where the length changed or what is compressed was damaged before it was compressed again.
    """
    rng = seeded(files[0].name, number)
    victim = files[int(rng.integers(len(files)))]
    for path in files:
        shutil.copyfile(path, folder / path.name)
    raw = victim.read_bytes()
    inside = raw[:2] == b"\x1f\x8b" and bool(rng.integers(2))
    data = bytearray(gzip.decompress(raw) if inside else raw)
    change = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
    before = bytes(data)
    if data:
        change(data, rng)
    (folder / victim.name).write_bytes(gzip.compress(bytes(data), 1) if inside else bytes(data))
    changed = -1
    if len(data) == len(before) and (inside or raw[:2] != b"\x1f\x8b"):
        changed = int(np.count_nonzero(np.frombuffer(bytes(data), "u1") != np.frombuffer(before, "u1")))
    return f"{change.__name__}{' inside' if inside else ''} of {victim.name}", changed


@dataclass
class Reader:
    """Runs in the child: reads files and compares with the sound ones."""

    recon: bool = False
    sound: dict[str, Any] = field(default_factory=dict)

    def __call__(self, original: str, path: str, sequence: str | None, changed: int) -> Outcome:
        key = f"{original} {sequence}"
        if key not in self.sound:
            self.sound = {key: self.scan(Path(original), sequence)}
        return self.judge(Path(path), sequence, self.sound[key], changed)

    def scan(self, path: Path, sequence: str | None) -> Any:
        from pulsespec.recon.formats import Known
        from pulsespec.recon.read import read

        return read([path], known=Known(Path(sequence) if sequence else None))

    def judge(self, path: Path, sequence: str | None, sound: Any, changed: int) -> Outcome:
        from pulsespec.errors import PulsespecError
        from pulsespec.recon.pipeline import recon

        try:
            found = self.scan(path, sequence)
            if self.recon:
                recon(found)
        except PulsespecError as error:
            names = [p.name for p in path.parent.iterdir()]
            if any(name in str(error) for name in names) and "\n" not in str(error):
                return Outcome("one clear error")
            return Outcome("error without the file's name", str(error)[:200])
        except BaseException as error:
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = f" ({Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno})" if frame else ""
            return Outcome("other error", f"{type(error).__name__}: {str(error)[:150]}{place}")
        return compare(sound, found, changed)


def parts_of(scan: Any) -> list[Any]:
    return [part for part in (scan.metabolite, scan.water) if part is not None]


def compare(sound: Any, found: Any, changed: int) -> Outcome:
    """Compare a damaged file's scan with the sound one; parts may have changed their role, not their shape."""
    was, now = parts_of(sound), parts_of(found)
    for part in now:
        facts = (part.dwell_s, part.f0_hz)
        if not all(np.isfinite(value) and value > 0 for value in facts):
            return Outcome("nonsense facts", str(facts))
    if sorted(p.data.shape for p in was) != sorted(p.data.shape for p in now):
        return Outcome("other shape", f"{[p.data.shape for p in was]} -> {[p.data.shape for p in now]}")
    was.sort(key=lambda p: p.data.shape)
    now.sort(key=lambda p: p.data.shape)
    pairs = [(a, b) for a, b in zip(was, now, strict=True)]
    count = sum(int(np.count_nonzero(~_same(a.data, b.data))) for a, b in pairs)
    if count == 0:
        same = all(
            (a.dwell_s, a.f0_hz, a.te_s, a.tr_s) == (b.dwell_s, b.f0_hz, b.te_s, b.tr_s) for a, b in pairs
        )
        return Outcome("read as before" if same else "read, other facts in the header")
    if any(_sign(a) != _sign(b) for a, b in pairs):
        return Outcome("read, sign judged anew with a notice")
    if 0 < changed <= 8 and count > 2 * changed + 2:
        return Outcome("spread", f"{changed} bytes changed {count} samples")
    return Outcome("read, other values")


def _sign(part: Any) -> bool:
    """Return whether the data were conjugated on reading, which the notices say."""
    return any(record.method == "Conjugation" for record in part.records)


def _same(a: Any, b: Any) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _serve(connection: Any, recon: bool) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout = sys.stderr = open("/dev/null", "w")  # noqa: SIM115, PTH123
    reader = Reader(recon)
    while True:
        connection.send(reader(*connection.recv()))


class Worker:
    """A child that reads files; it is ended and replaced where it takes longer than `limit_s` or dies."""

    def __init__(self, limit_s: float = 30.0, recon: bool = False, start_s: float = 60.0) -> None:
        self.limit_s, self.recon, self.start_s = limit_s, recon, start_s
        self.context = multiprocessing.get_context("spawn")
        self.child: Any = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        self.connection, other = self.context.Pipe()
        self.child = self.context.Process(target=_serve, args=(other, self.recon), daemon=True)
        self.child.start()
        other.close()

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.join()
            self.connection.close()
            self.child = None

    def __call__(self, original: Path, path: Path, sequence: Path | None, changed: int) -> Outcome:
        first = self.child is None
        if first:
            self.start()
        self.connection.send((str(original), str(path), str(sequence) if sequence else None, changed))
        try:
            if self.connection.poll(self.limit_s + (self.start_s if first else 0.0)):
                return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.child.join()
            code = self.child.exitcode
            self.stop()
            return Outcome("crash", signal.Signals(-code).name if code and code < 0 else f"exit {code}")
        self.stop()
        return Outcome("hang", f"more than {self.limit_s:g} s")


def fuzz(path: Path, numbers: range, worker: Worker) -> Iterator[tuple[int, str, Outcome]]:
    """Yield number, what was done and what came of it, of each damaged copy of `path`."""
    sequence = path.with_suffix(".seq")
    files = [path, *(p for p in companions(path) if p != path and p.suffix != ".seq")]
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            done, changed = mutate(files, Path(folder), number)
            victim = Path(folder) / path.name
            yield number, done, worker(path, victim, sequence if sequence.is_file() else None, changed)


def known_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield format and path of each file below `folder` that a reader reads as it is; spares (SPAR) only once."""
    from pulsespec.errors import PulsespecError
    from pulsespec.recon.formats import format_of

    for path in sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() not in (".spar", ".seq")
    ):
        try:
            name = format_of(path).name
            sequence = path.with_suffix(".seq")
            Reader().scan(path, str(sequence) if sequence.is_file() else None)
        except PulsespecError:
            continue
        yield name, path
