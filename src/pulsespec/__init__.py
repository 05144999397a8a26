"""Magnetic resonance spectroscopy from the pulse sequence to the metabolites."""

from importlib.metadata import version

__version__ = version("pulsespec")
