"""What each row of the table must say of itself, for those who read nothing else."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from pulsespec.recon.fit import SUMS, FitResult
from pulsespec.recon.fit_words import upper_limit
from pulsespec.recon.verdict import LEVELS, Assessment

REFUSED = "refused"
"""The fit cannot be believed: the row has no numbers."""
POOR = "poor-data"
"""The verdict on the data is poor; numbers may be further off than their standard deviations say."""
NOT_DETECTED = "not-detected"
"""At 95 % (one-sided) the amplitude cannot be told from zero; `upper_95` says what it may be at most."""
SEE_SUM = "see-"
"""With a sum's name: the parts trade against each other, and only their sum is determined."""
ONE_SIDED = 1.645
"""Standard deviations above which an amplitude is seen."""
_TRADE = -0.8
SUM_OF = {part: total for total, of in SUMS.items() for part in of}
"""The sum that a component is part of."""


def flagged(
    rows: Sequence[Mapping[str, Any]], found: FitResult, judged: Assessment | None = None
) -> list[dict[str, Any]]:
    """Return the rows with `upper_95` and `flag` (empty where nothing has to be said, else joined by commas)."""
    everywhere = [POOR] if judged is not None and judged.verdict == LEVELS[-1] else []
    sums = _sums_of_trading(found)
    done = []
    for row in rows:
        value, sd = float(row["amplitude"]), float(row["sd"])
        if not found.converged:
            done.append(_emptied(row) | {"upper_95": float("nan"), "flag": ",".join([REFUSED, *everywhere])})
            continue
        own = [NOT_DETECTED] if not value > ONE_SIDED * sd else []
        own += [SEE_SUM + sums[row["metabolite"]]] if row["metabolite"] in sums else []
        done.append(dict(row) | {"upper_95": upper_limit(value, sd), "flag": ",".join([*own, *everywhere])})
    return done


def _emptied(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, str) else float("nan") for key, value in row.items()}


def _sums_of_trading(found: FitResult) -> dict[str, str]:
    """Return by name the sum to which each component belongs that trades against another part of it."""
    sums: dict[str, str] = {}
    for total, parts in SUMS.items():
        at = [found.names.index(part) for part in parts if part in found.names]
        for i, k in combinations(at, 2):
            if found.correlation[i, k] < _TRADE:
                sums |= {found.names[i]: total, found.names[k]: total}
    return sums
