"""The posterior of a fit by Hamiltonian Monte Carlo, where a covariance is not enough: at zero, and along trades.

Amplitudes (not negative) and nonlinear parameters are sampled together, the baseline is integrated out. Proposals
follow the gradient and choose their own length (Hoffman and Gelman 2014, arXiv:1111.4246; multinomial variant of
Betancourt 2017, arXiv:1701.02434), by the library mici (MIT; extra `mcmc`). Papers recalled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.chains import effective_samples, split_rhat
from pulsespec.recon.fit import BatchResult
from pulsespec.recon.fit_settings import SUMS
from pulsespec.recon.posterior_density import density_of

Real = NDArray[np.float64]

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
_CHAINS = 4
_WARM_UP = 200
"""Only the length of a step is adapted: the metric is the information of the fit."""
_ACCEPT = 0.8
_GOOD_RHAT = 1.01
"""Of long chains (Vehtari et al. 2021, doi:10.1214/20-BA1221, recalled)."""
_RHAT_BY_CHANCE = 2.0
"""Over the draws of a chain: independent draws exceed the sum of both in fewer than one case of a hundred."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Samples of the amplitudes and how far they can be trusted."""

    names: tuple[str, ...]
    samples: Real
    """In units of the basis, chain after chain; shape (n_draws, n_components)."""
    n_chains: int
    diverged: int
    """Proposals that left the surface: where they are more than a few, a part of it was not reached."""

    def of(self, weights: dict[str, float]) -> Real:
        """Return the samples of a weighted sum of amplitudes; shape (n_draws,)."""
        return np.asarray(self.samples @ np.array([weights.get(name, 0.0) for name in self.names]))

    @property
    def correlation(self) -> Real:
        """Correlation of the amplitudes; shape (n_components, n_components)."""
        return np.asarray(np.corrcoef(self.samples, rowvar=False))

    def rows(self) -> list[dict[str, Any]]:
        """Return mean, standard deviation, quantiles, R-hat and effective samples of all components and sums."""
        parts: dict[str, tuple[str, ...]] = {name: (name,) for name in self.names}
        parts |= {
            total: tuple(p for p in of if p in self.names)
            for total, of in SUMS.items()
            if any(p in self.names for p in of)
        }
        return [self._row(name, of) for name, of in parts.items()]

    def _row(self, name: str, of: tuple[str, ...]) -> dict[str, Any]:
        drawn = self.of(dict.fromkeys(of, 1.0))
        chains = drawn.reshape(self.n_chains, -1)
        quantiles = {f"q{100 * q:g}": float(np.quantile(drawn, q)) for q in QUANTILES}
        spread = {"mean": float(drawn.mean()), "sd": float(drawn.std(ddof=1))}
        sampling = {"rhat": split_rhat(chains), "effective_samples": effective_samples(chains)}
        return {"metabolite": name, **spread, **quantiles, **sampling}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps the samples from being the posterior."""
        most = _GOOD_RHAT + _RHAT_BY_CHANCE * self.n_chains / len(self.samples)
        bad = [row["metabolite"] for row in self.rows() if not row["rhat"] < most]
        words = f"posterior: chains disagree (R-hat above {most:.3f}) on {', '.join(bad)}: take more samples"
        lost = (
            f"posterior: {self.diverged} of the proposals diverged: quantiles may miss a part of the surface"
        )
        return (*((words,) if bad else ()), *((lost,) if self.diverged > 0.01 * len(self.samples) else ()))


def sample_posterior(fits: BatchResult, index: int = 0, draws: int = 1000, seed: int = 0) -> Posterior:
    """Draw from the posterior of one fit.

    Parameters
    ----------
    fits
        What was found: its baseline's stiffness and its priors are taken as they are.
    index
        Which spectrum of it.
    draws
        Samples to keep, of four chains together, at least 40.
    seed
        The same seed gives the same samples.

    Raises
    ------
    InputError
        The extra `mcmc` is not installed, or too few samples are asked for.

    """
    if draws < 10 * _CHAINS:
        raise InputError(f"posterior: got {draws} samples, expected at least {10 * _CHAINS}")
    fits.settings.refuse_signed("samples of the posterior")
    try:
        import mici
    except ImportError as error:
        raise InputError("posterior: needs the package mici: pip install 'pulsespec[mcmc]'") from error
    target = density_of(fits, index)
    rng = np.random.default_rng(seed)
    system = mici.systems.EuclideanMetricSystem(
        neg_log_dens=lambda at: target.slope(at)[1], grad_neg_log_dens=target.slope, metric=target.metric
    )
    sampler = mici.samplers.DynamicMultinomialHMC(system, mici.integrators.LeapfrogIntegrator(system), rng)
    spread = np.linalg.inv(np.linalg.cholesky(target.metric)).T
    starts = [target.start + spread @ rng.normal(size=target.start.size) for _ in range(_CHAINS)]
    found = sampler.sample_chains(
        _WARM_UP,
        -(-draws // _CHAINS),
        starts,
        adapters=[mici.adapters.DualAveragingStepSizeAdapter(_ACCEPT)],
        trace_funcs=[lambda state: {"at": state.pos}],
        display_progress=False,
    )
    at = np.concatenate(found.traces["at"])
    amplitudes = np.array([target.values(one)[0] for one in at]) * fits.noise_sd[index]
    diverged = int(sum(int(np.sum(chain)) for chain in found.statistics["diverging"]))
    return Posterior(fits.names, amplitudes, _CHAINS, diverged)
