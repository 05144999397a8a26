"""All that is held against each other before data are fitted with a basis."""

from typing import Any

from pulsespec.recon.guard_basis import compare
from pulsespec.recon.guard_functions import cut
from pulsespec.recon.guard_place import check_place
from pulsespec.recon.transients import Transients


def matched(data: Transients, basis: Any) -> tuple[Transients, tuple[str, ...]]:
    """Return the data as they can be fitted with the basis, and notices on what was done or differs.

    Data longer than sampled functions are cut; data that are mirrored are conjugated where their format leaves the
    sign open.

    Raises
    ------
    MismatchError
        Data and basis do not belong together: see `guard_basis.compare` and `guard_place.check_place`.
    DataError
        The data are mirrored though their format defines the sign.

    """
    notices = compare(data, basis)
    data, shortened = cut(data, basis)
    data, turned = check_place(data, basis)
    return data, (*notices, *shortened, *turned)
