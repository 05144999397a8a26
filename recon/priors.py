"""What is expected of metabolites that a spectrum determines weakly, relative to those that it determines well."""

from collections.abc import Sequence
from functools import lru_cache

from pulsespec.recon.fit_settings import RatioPrior
from pulsespec.simulator.basis_names import house_name
from pulsespec.simulator.tissue import Tissue
from pulsespec.simulator.tissue_library import load_tissue

_WEAK = ("NAAG", "Gln", "GABA", "GSH", "Asp", "Tau", "Asc", "PE", "Glc", "Lac", "Ala", "Gly", "Scyllo")
"""What at 3 T and short echo time has bounds beyond a tenth of its amount in healthy brain."""
IN_LESIONS = ("Lac",)
"""In lesions there is ten times as much, under lipid that takes its place, so that data cannot object to a prior:
images go without."""
_STRONG = {"NAA": 1.0, "NAAG": 1.0, "Cr": 1.0, "PCr": 1.0, "GPC": 3.0, "PCh": 3.0}
"""The reference: tNAA + tCr + 3 tCho, which no disease takes whole (LCModel's `Big3`, recalled)."""
_SPREAD = 1.0
"""Standard deviation over mean: as LCModel has for Asp, GABA, Glc, Scyllo and Tau; healthy people differ less."""
_TISSUES = ("grey-matter", "white-matter")


def metabolite_priors(names: Sequence[str]) -> tuple[RatioPrior, ...]:
    """Return soft ratios for the weak ones among the components of a basis.

    The expected ratio is the mean of grey and white matter in the table of tissues, whose sources it names.
    """
    return _priors(tuple(names))


@lru_cache(maxsize=16)
def _priors(names: tuple[str, ...]) -> tuple[RatioPrior, ...]:
    known = {house_name(name): name for name in names}
    reference = "+".join(f"{factor:g}*{known[name]}" for name, factor in _STRONG.items() if name in known)
    found = []
    for name in _WEAK:
        ratios = [
            ratio for ratio in (_ratio(load_tissue(one), name) for one in _TISSUES) if ratio is not None
        ]
        if name in known and reference and ratios:
            mean = sum(ratios) / len(ratios)
            found.append((known[name], reference, mean, _SPREAD * mean))
    return tuple(found)


def _ratio(tissue: Tissue, name: str) -> float | None:
    """Return the amount of a metabolite over the reference, `None` where the tissue's table leaves it out."""
    amounts = tissue.concentrations
    if name not in amounts:
        return None
    return amounts[name].mm / sum(factor * amounts[one].mm for one, factor in _STRONG.items())
