"""Whether Markov chains have arrived, and what their samples are worth: rank-normalised split R-hat and effective size.

Vehtari, Gelman, Simpson, Carpenter, Buerkner 2021, doi:10.1214/20-BA1221 (recalled).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Real = NDArray[np.float64]


def split_rhat(chains: Real) -> float:
    """Return the larger of R-hat of the ranks and of those of the distance from the median; shape (chains, draws)."""
    folded = np.abs(chains - np.median(chains))
    return max(_rhat(_normal_ranks(_split(one))) for one in (chains, folded))


def effective_samples(chains: Real) -> float:
    """Return how many independent draws the middle of the distribution is known as well by; shape (chains, draws)."""
    halves = _normal_ranks(_split(chains))
    m, n = halves.shape
    centred = halves - halves.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * n, axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :n] / n
    within = products[:, 0].mean() * n / (n - 1)
    total = within * (n - 1) / n + halves.mean(axis=1).var(ddof=1)
    if not total > 0:
        return float("nan")
    rho = 1 - (within - products.mean(axis=0) * n / (n - 1)) / total
    pairs = rho[: 2 * (n // 2)].reshape(-1, 2).sum(axis=1)
    first = (
        int(np.argmax(pairs < 0)) if np.any(pairs < 0) else pairs.size
    )  # Geyer's initial positive sequence
    monotone = np.minimum.accumulate(pairs[:first])
    tau = max(-1 + 2 * float(monotone.sum()), 1 / np.log10(m * n))
    return float(m * n / tau)


def _split(chains: Real) -> Real:
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_ranks(chains: Real) -> Real:
    ranks = rankdata(chains).reshape(chains.shape)
    return np.asarray(norm.ppf((ranks - 0.375) / (chains.size + 0.25)))


def _rhat(chains: Real) -> float:
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean()
    between = chains.mean(axis=1).var(ddof=1)
    return float(np.sqrt((n - 1) / n + between / within)) if within > 0 else float("nan")
