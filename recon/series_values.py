"""Values of the variable of a series, from what was found first: the user's table, the header, or the time of shots."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pulsespec.errors import InputError
from pulsespec.recon.series_design import mean_of, shot_times
from pulsespec.recon.series_order import Order, Table, of_dimension, of_one, ordered
from pulsespec.recon.series_schema import SeriesModel, Variable
from pulsespec.recon.transients import Transients

Real = NDArray[np.float64]

_TIMES = {"EchoTime": "te_s", "RepetitionTime": "tr_s"}


def order_of(
    data: Transients, variable: Variable, table: Table | None, cycle: int | None, block: int | None
) -> Order:
    """Return which member of a series each shot of one scan belongs to.

    Raises
    ------
    InputError
        Shots, values and what the user says do not go together.

    """
    shots = data.size("average")
    if "series" not in data.dims:
        return ordered(shots, variable.name, table, cycle, block)
    if cycle is not None or block is not None:
        raise InputError(
            f"{data.source}: counts {data.size('series')} spectra by a dimension of its own; drop --cycle and --block"
        )
    return of_dimension(data.size("series"), shots, data.header.get("series_values") or {}, table)


def order_of_file(data: Transients, variable: Variable) -> Order:
    """Return the order of one of several files: its own members, or all its shots as one member."""
    if "series" in data.dims:
        return order_of(data, variable, None, None, None)
    value = header_value(data, variable)
    return of_one(data.size("average"), {} if value is None else {str(variable.key): np.array([value])})


def header_value(data: Transients, variable: Variable) -> float | None:
    """Return the value that the header of a file has for the variable, in the unit of the header."""
    key = str(variable.key)
    value = getattr(data, _TIMES[key]) if key in _TIMES else data.header.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def values_of(order: Order, variable: Variable, tr_s: float | None) -> tuple[Real, str]:
    """Return the values of the variable, shape (n_spectra,), and where they are from.

    Raises
    ------
    InputError
        Nothing says them, or they are all the same.

    """
    if variable.name in order.columns:
        values, words = order.columns[variable.name], "given"
    elif variable.key is not None and variable.key in order.columns:
        values = variable.factor * order.columns[variable.key]
        words = f"{variable.key} of the header times {variable.factor:g}"
    elif variable.time:
        values, words = mean_of(shot_times(order.entry.size, tr_s), order), "mean time of the shots, from TR"
    else:
        raise InputError(
            f"series: nothing says {variable.name} ({variable.unit}); pass --values with a list or a table, or data "
            f"whose header has {variable.key or 'it'}"
        )
    if np.ptp(values) == 0:
        raise InputError(f"series: {variable.name} is {values[0]:g} in all spectra")
    return np.asarray(values, dtype=float), words


def constants_of(
    model: SeriesModel, data: Transients, columns: Mapping[str, Real]
) -> dict[str, float | Real]:
    """Return the constants of a model by name; `InputError` where header or table do not say one."""
    found: dict[str, float | Real] = {}
    for name, constant in model.constants.items():
        if constant.column is not None:
            if constant.column not in columns:
                raise InputError(
                    f"series: model {model.name} needs column {constant.column!r} of --values "
                    f"({', '.join(columns) or 'none'})"
                )
            found[name] = constant.factor * columns[constant.column]
            continue
        stated = constant.value if constant.key is None else getattr(data, _TIMES[constant.key])
        if stated is None:
            raise InputError(
                f"series: {data.source or 'the data'} do not say their {constant.key}, which model {model.name} needs "
                f"as {name}; state it in a model of your own"
            )
        found[name] = float(stated) * (1.0 if constant.key is None else constant.factor)
    return found


def is_processed(data: Transients, order: Order) -> bool:
    """Return whether a file holds one finished spectrum for each member: no coils, no shots to average."""
    return "coil" not in data.dims and int(order.counts.max()) == 1
