"""What programs call the metabolites: one table, house name first.

The house names are LCModel's (Table 8.1 of its manual, as listed in the README of its 7 T basis sets), where it has
one. Osprey's come from its `listValidBasisFunctionNames.m`, whose first name of each group it writes and whose
others it reads. The rest are names met in real basis sets: MARSS (`sI`, `PCho`, `BHB`, `Homocarnosine`, `Try`), the
ISMRM fitting challenge and FSL-MRS (`sIns`, `PCho`), spant (`sIns`). `PA` of MARSS has the shifts of phenylalanine.
`Eth` is left alone: it is ethanol in Osprey's list, but ethanolamine in the basis sets of MARSS.
"""

from collections.abc import Iterable

_TABLE: tuple[tuple[str, str | None, tuple[str, ...]], ...] = (
    # house, Osprey's own where it differs, other names
    ("Ace", None, ("Act",)),
    ("Acn", "AcO", ()),
    ("bHB", None, ("bHb", "BHB")),
    ("2HG", "bHG", ("2-HG",)),
    ("Cho", "fCho", ()),
    ("Cr", None, ("Cre",)),
    ("Gly", None, ("Glyc",)),
    ("HCar", None, ("Homocarnosine",)),
    ("Ins", "mI", ("mIns",)),
    ("PAl", "Phenyl", ("Phe", "PA")),
    ("PCh", None, ("PCho",)),
    ("PE", None, ("PEth",)),
    ("Scyllo", "sI", ("sIns",)),
    ("Trp", "Tryp", ("Try",)),
    ("Tyr", "Tyros", ()),
    ("Mac", "MMexp", ("MMmeas",)),
)
_HOUSE = {
    alias: house
    for house, osprey, others in _TABLE
    for alias in (house, *((osprey,) if osprey else ()), *others)
}
_OSPREY = {house: osprey for house, osprey, _ in _TABLE if osprey}

LCMODEL_CHARACTERS = 6
"""Length of a metabolite's name in LCModel: MCHMET in its `lcmodel.inc`."""


def house_name(name: str) -> str:
    """Return the name that this project has for a metabolite of that name; itself where it is not in the table."""
    return _HOUSE.get(name, name)


def program_name(name: str, program: str) -> str:
    """Return what `program` (a name of `FORMATS`) calls the metabolite with that house name."""
    return _OSPREY.get(name, name) if program == "osprey" else name


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return old name to house name of those that change; one whose house name another has keeps its own."""
    names = tuple(names)
    wanted = {name: house_name(name) for name in names}
    taken = list(wanted.values())
    return {old: new for old, new in wanted.items() if old != new and taken.count(new) == 1}
