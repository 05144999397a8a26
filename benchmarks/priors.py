"""Settings of the fit with and without soft priors on amplitudes of metabolites, shared by benchmarks."""

from pulsespec.recon.fit import FitSettings


def settings_of(priors: str, ppm_range: tuple[float, float] = FitSettings().ppm_range) -> FitSettings:
    """Return the default settings, or with "off" those without soft ratios of metabolites.

    Ratios among macromolecules and lipids stay: without them their model is another one.
    """
    return FitSettings(metabolite_priors=priors == "on", ppm_range=ppm_range)
