"""How far a job is, and how long it will still take."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

__all__ = ["Course", "Step", "Watch", "duration"]


@dataclass(frozen=True)
class Step:
    """How far the blocks of one kind are, or something to say about them."""

    name: str
    """What the blocks are."""
    done: int
    total: int | None
    """How many there are, where that is known."""
    kept: int
    """How many of those done were not computed now, but kept from before."""
    elapsed_s: float
    words: str = ""
    """Something that a person should know, in place of the count."""

    @property
    def left_s(self) -> float | None:
        """Estimate of the time left, from the mean of the blocks computed so far; `None` without any."""
        computed = self.done - self.kept
        if self.total is None or computed < 1:
            return None
        return self.elapsed_s / computed * (self.total - self.done)

    def line(self) -> str:
        """Return the step in words."""
        if self.words:
            return self.words
        parts = [f"{self.name}: {self.done}" + (f" of {self.total}" if self.total else "")]
        if self.kept:
            parts.append(f"{self.kept} of them kept from before")
        if self.left_s is not None and self.done < (self.total or 0):
            parts.append(f"about {duration(self.left_s)} left")
        return ", ".join(parts)


Watch = Callable[[Step], None]
"""Hears of each block that is done."""


@dataclass
class Course:
    """Counts blocks and tells a watch."""

    watch: Watch | None
    name: str
    total: int | None
    clock: Callable[[], float] = monotonic
    done: int = 0
    kept: int = 0
    start: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.start = self.clock()

    def step(self, kept: bool) -> None:
        """Count one block, computed now or `kept` from before."""
        self.done += 1
        self.kept += kept
        self._tell("")

    def say(self, words: str) -> None:
        """Tell something that a person should know."""
        self._tell(words)

    def _tell(self, words: str) -> None:
        if self.watch is not None:
            elapsed = self.clock() - self.start
            self.watch(Step(self.name, self.done, self.total, self.kept, elapsed, words))


def duration(seconds: float) -> str:
    """Return a time in the two units that a person would say it in."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
