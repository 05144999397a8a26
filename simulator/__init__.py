"""The density-matrix simulator: any `.seq` in, basis sets and expected signals out."""

from pulsespec.simulator.basis import Basis, Lines
from pulsespec.simulator.sampled import SampledBasis
from pulsespec.simulator.simulate import simulate
from pulsespec.simulator.spinsystem import Metabolite, SpinSystem, list_metabolites, load_metabolites
from pulsespec.simulator.timeline import Timeline, read_timeline

__all__ = [
    "Basis",
    "Lines",
    "Metabolite",
    "SampledBasis",
    "SpinSystem",
    "Timeline",
    "list_metabolites",
    "load_metabolites",
    "read_timeline",
    "simulate",
]
