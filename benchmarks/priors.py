"""Settings of the fit with and without soft priors on amplitudes of metabolites, shared by benchmarks."""

from pulsespec.recon.fit import FitSettings
from pulsespec.simulator.lcmodel import broad_names


def settings_of(priors: str) -> FitSettings:
    """Return the default settings, or with "off" those without soft ratios of metabolites.

    Ratios among macromolecules and lipids stay: without them their model is another one.
    """
    settings = FitSettings()
    if priors == "on":
        return settings
    kept = tuple(row for row in settings.ratio_priors if broad_names([row[0]]))
    return FitSettings(ratio_priors=kept)
