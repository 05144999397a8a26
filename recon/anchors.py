"""Soft ratios whose reference is not fitted: the components keep their ratios to one another."""

from collections.abc import Sequence

import numpy as np

from pulsespec.recon.fit_settings import RatioPrior


def anchored(priors: Sequence[RatioPrior], names: Sequence[str]) -> tuple[RatioPrior, ...]:
    """Return soft ratios with a reference that is fitted, wherever two of one reference are.

    Macromolecules are stated relative to that at 0.9 ppm. Where the fitted range leaves it out, the others would be
    free, and those that are narrow would stand in for metabolites. The one that is known best takes its place; the
    variances of both relative ratios add, as they do for independent errors.

    Parameters
    ----------
    priors
        As `FitSettings` has them.
    names
        Components that are fitted.

    """
    lost = [p for p in priors if p[0] in names and p[2] > 0 and not _any(p[1], names)]
    best: dict[str, RatioPrior] = {}
    for prior in lost:
        held = best.get(prior[1])
        if held is None or prior[3] / prior[2] < held[3] / held[2]:
            best[prior[1]] = prior
    return tuple(_through(p, best[p[1]]) if p in lost else p for p in priors if p not in best.values())


def _any(references: str, names: Sequence[str]) -> bool:
    return any(term.rpartition("*")[2] in names for term in references.split("+"))


def _through(prior: RatioPrior, anchor: RatioPrior) -> RatioPrior:
    name, _, ratio, sd = prior
    relative = float(np.hypot(sd / ratio, anchor[3] / anchor[2]))
    return name, anchor[0], ratio / anchor[2], ratio / anchor[2] * relative
