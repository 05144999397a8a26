"""The shipped tissues: ratios, sums and likenesses of `tissues.toml` worked out."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from pulsespec.errors import DataError, InputError
from pulsespec.simulator.tissue import Amount, Linewidth, Relaxation, Source, Tissue
from pulsespec.simulator.tissue_lines import known_broad
from pulsespec.simulator.tissue_table import StatedAmount, StatedTissue, Table, shipped_table

GIVEN = "given"
"""Key of the source of what the caller states."""


def list_tissues() -> list[str]:
    """Return the names of the shipped tissues, in the order of the table."""
    return list(shipped_table().tissues)


@lru_cache(maxsize=16)
def load_tissue(name: str) -> Tissue:
    """Return a shipped tissue.

    Raises
    ------
    InputError
        There is none of that name.

    """
    known = list_tissues()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"tissue {name!r}: expected one of {', '.join(known)}{hint}")
    return resolve(shipped_table(), name)


def with_amounts(tissue: Tissue, amounts_mm: Mapping[str, float]) -> Tissue:
    """Return a tissue with other concentrations, as the caller gives them; zero takes a component away.

    Raises
    ------
    InputError
        A name is that of a sum, whose parts cannot be known.

    """
    found = {True: dict(tissue.broad), False: dict(tissue.concentrations)}
    for name, value in amounts_mm.items():
        if name in tissue.sums:
            parts = ", ".join(tissue.sums[name])
            raise InputError(f"{name}: is a sum, expected its parts ({parts}) with a concentration each")
        table = found[name in tissue.broad or name in known_broad()]
        table[name] = Amount(value, 0.0, GIVEN)
    sources = {**tissue.sources, GIVEN: Source("given by the user", "", "derived")}
    return replace(
        tissue, concentrations=_over({}, found[False]), broad=_over({}, found[True]), sources=sources
    )


def resolve(table: Table, name: str) -> Tissue:
    """Return a tissue with its ratios and sums worked out, and what it takes over from the one it is like."""
    entry = table.tissues[name]
    base = resolve(table, entry.like) if entry.like is not None else None
    return Tissue(
        name=name,
        description=entry.description,
        notes=entry.notes,
        concentrations=_over(base.concentrations if base else {}, _metabolites(table, name, entry)),
        broad=_over(base.broad if base else {}, _broad(table, name, entry)),
        water=_water(name, entry, base),
        relaxation=_times(table, entry, base),
        linewidth=_widths(table, entry, base),
        snr_ppm=entry.snr_ppm,
        sources={key: Source(**source.model_dump()) for key, source in table.sources.items()},
        sums={key: tuple(share.parts) for key, share in table.sums.items()},
        aliases={key: tuple(names) for key, names in table.aliases.items()},
    )


def _over(base: Mapping[str, Amount], own: Mapping[str, Amount]) -> dict[str, Amount]:
    return {key: amount for key, amount in {**base, **own}.items() if amount.mm > 0}


def _metabolites(table: Table, name: str, entry: StatedTissue) -> dict[str, Amount]:
    """Return what a tissue states itself, in mM; a sum is split as in the tissue that it refers to."""
    found: dict[str, Amount] = {}
    for key, stated in entry.concentrations.items():
        other = stated.to if stated.to in table.tissues else entry.like
        model = resolve(table, other).concentrations if other is not None else {}
        reference = model if stated.to in table.tissues else found
        amount = _amount(table, name, stated, key, reference)
        found |= _split(table, key, amount, model)
    return found


def _broad(table: Table, name: str, entry: StatedTissue) -> dict[str, Amount]:
    found: dict[str, Amount] = {}
    for key, stated in entry.broad.items():
        elsewhere = resolve(table, stated.to).broad if stated.to in table.tissues else found
        found[key] = _amount(table, name, stated, key, elsewhere)
    return found


def _amount(
    table: Table, tissue: str, stated: StatedAmount, key: str, reference: Mapping[str, Amount]
) -> Amount:
    """Return what is stated, in mM, where the `reference` holds what a ratio is to."""
    if stated.mm is not None:
        return Amount(stated.mm, stated.sd, stated.source)
    assert stated.ratio is not None
    assert stated.to is not None
    total = _total(table, key if stated.to in table.tissues else stated.to, reference)
    if total <= 0:
        raise DataError(f"tissue {tissue}: {key} is a ratio to {stated.to}, which is not known")
    return Amount(stated.ratio * total, stated.sd * total, stated.source)


def _total(table: Table, key: str, amounts: Mapping[str, Amount]) -> float:
    parts = table.sums[key].parts if key in table.sums else (key,)
    return sum(amounts[part].mm for part in parts if part in amounts)


def _split(table: Table, key: str, amount: Amount, model: Mapping[str, Amount]) -> dict[str, Amount]:
    """Return the parts of a sum; drawn one by one, they give the sum the standard deviation that it had."""
    if key not in table.sums:
        return {key: amount}
    shares = table.sums[key].parts
    total = sum(model[part].mm for part in shares if part in model)
    if all(part in model for part in shares):
        shares = {part: model[part].mm / total for part in shares}
    norm = math.sqrt(sum(share**2 for share in shares.values()))
    source = f"{amount.source} {table.sums[key].source}"
    return {p: Amount(share * amount.mm, share * amount.sd_mm / norm, source) for p, share in shares.items()}


def _water(name: str, entry: StatedTissue, base: Tissue | None) -> Amount:
    if entry.water is not None and entry.water.mm is not None:
        return Amount(entry.water.mm, entry.water.sd, entry.water.source)
    if base is None:
        raise DataError(f"tissue {name}: has no water in mM")
    return base.water


def _times(
    table: Table, entry: StatedTissue, base: Tissue | None
) -> Mapping[float, Mapping[str, Relaxation]]:
    if entry.relaxation is None:
        return base.relaxation if base else {}
    return {
        float(field): {
            key: Relaxation(row.t1_s, row.t2_s, f"{row.t1_source} {row.t2_source}")
            for key, row in rows.items()
        }
        for field, rows in table.relaxation[entry.relaxation].items()
    }


def _widths(table: Table, entry: StatedTissue, base: Tissue | None) -> Mapping[float, Linewidth]:
    if entry.linewidth is None:
        return base.linewidth if base else {}
    rows = table.linewidth[entry.linewidth]
    return {float(field): Linewidth(row.gauss_hz, row.sd_hz, row.source) for field, row in rows.items()}
