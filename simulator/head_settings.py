"""What a numerical head is made of: settings, checked, with named sets as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pulsespec.errors import InputError
from pulsespec.simulator.settings_table import check_settings, settings_of, shipped_sets

Any_ = Annotated[float, Field(allow_inf_nan=False)]
Least0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Point = Annotated[tuple[Any_, Any_, Any_], Field(strict=False)]

_FILE = "heads.toml"


@dataclass(frozen=True)
class HeadSettings:
    """A head; lengths in mm, places in world coordinates (right, anterior, superior) from its centre."""

    outer_mm: Annotated[tuple[Above0, Above0, Above0], Field(strict=False)] = (75.0, 95.0, 85.0)
    """Semi-axes of the outside of the scalp, an ellipsoid: a head 150 mm broad and 190 mm long (adults: about 152
    and 195, recalled)."""
    centre_mm: Point = (0.0, 0.0, 0.0)
    """World coordinates of its centre."""
    skin_mm: Least0 = 2.0
    fat_mm: Least0 = 4.0
    """Thickness of the fat under the scalp; 0 for none."""
    skull_mm: Least0 = 6.5
    """Thickness of the bone, which gives no signal."""
    fluid_mm: Least0 = 3.0
    """Thickness of the fluid between bone and brain."""
    fold_mm: Above0 = 22.0
    """Distance of cortical folds, a pattern of ours that gives voxels the partial volumes of a cortex."""
    lesion: str = ""
    """Tissue of a spherical lesion: a name of `pulsespec.simulator.tissue_library`; empty for none."""
    lesion_centre_mm: Point = (28.0, -36.0, 4.0)
    lesion_radius_mm: Above0 = 16.0
    linewidth_hz: Least0 = 8.0
    """Width of NAA in white matter, full width at half maximum, T2 included, where the field is homogeneous over
    a voxel; what a voxel's own gradients of the field add comes on top."""
    hot_spot_hz: Least0 | None = None
    """Largest offset of the field in the brain over the sinus and ears, after shimming; what the susceptibility
    of air gives at the field of the sequence where `None`."""
    shim_residue_hz: Least0 = 8.0
    """Standard deviation over the brain of first- and second-order terms that shimming leaves."""
    shim_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of those terms: the same head has the same field in every scan."""
    shim_order: Annotated[int, Field(ge=0, le=2)] = 2
    """Order of the spherical harmonics that shimming takes out of the field of the air."""
    offset_hz: Any_ = 0.0
    """Error of the frequency adjustment, the same everywhere; positive is downfield."""
    relaxation: bool = True
    """Whether T1 and T2 of each tissue act; without, all are as after an infinite TR and at TE 0."""
    macromolecules: Least0 = 1.0
    """Factor of the macromolecules and lipids of brain and lesion."""
    lipid: Least0 = 1.0
    """Factor of the fat under the scalp."""
    fine_mm: Annotated[tuple[Above0, Above0, Above0], Field(strict=False)] = (2.0, 2.0, 3.4)
    """Largest spacing of the grid that the head is drawn on, along the axes of the field of view."""
    labels: str = ""
    """A NIfTI image of labels in place of the ellipsoids; needs `tissues`."""
    tissues: Mapping[Annotated[str, Field()], int | list[int] | str] = field(default_factory=dict)
    """With `labels`, the label (or labels) of each tissue; without, the NIfTI image of the share of each tissue."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(HeadSettings, "head", {one.name: getattr(self, one.name) for one in fields(self)})


def list_heads() -> list[str]:
    """Return the names of the shipped heads."""
    return list(shipped_sets(_FILE))


def is_head(name_or_path: str) -> bool:
    """Return whether a phantom is a head: one of the shipped, or a TOML file."""
    return name_or_path in list_heads() or name_or_path.endswith(".toml")


def load_head_settings(name_or_path: str | Path, **changes: Any) -> HeadSettings:
    """Return the settings of a shipped head or of a TOML file, with single values changed.

    Paths in a file are relative to it.

    Raises
    ------
    InputError
        There is no such head or file, it is not TOML, or a key or value is wrong.

    """
    values = settings_of(name_or_path, _FILE, "head") | {k: v for k, v in changes.items() if v is not None}
    check_settings(HeadSettings, str(name_or_path), values)
    folder = Path(name_or_path).parent
    if values.get("labels"):
        values["labels"] = str(folder / values["labels"])
    elif "tissues" in values:
        wrong = [name for name, value in values["tissues"].items() if not isinstance(value, str)]
        if wrong:
            raise InputError(
                f"{name_or_path}: tissues.{wrong[0]}: expected the path of an image, or labels too"
            )
        values["tissues"] = {name: str(folder / str(path)) for name, path in values["tissues"].items()}
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return HeadSettings(**(values | tuples))


def head_as_json(settings: HeadSettings) -> dict[str, Any]:
    """Return settings as JSON has them; files by their names alone, since folders may name a patient."""
    named = {
        key: Path(value).name if isinstance(value, str) else value for key, value in settings.tissues.items()
    }
    return asdict(settings) | {"labels": Path(settings.labels).name, "tissues": named}
