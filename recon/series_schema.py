"""What the model of a series may say: a TOML file in the field's words, checked before anything is read or fitted."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
Text = Annotated[str, Field(max_length=400)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Variable(_Section):
    """What differs from one spectrum of the series to the next."""

    name: Name
    """As it stands in expressions: b, TI, TE, t."""
    unit: Text
    """Of the values, in words; everything in the model is in this unit."""
    key: Text | None = None
    """Key of the dynamic header of NIfTI-MRS that has the values."""
    factor: Number = 1.0
    """From the unit of the header to `unit`: 1000 for ms of a header in s."""
    time: bool = False
    """The mean time in s at which the shots of a spectrum were taken, from TR and their order."""


class Constant(_Section):
    """A number that expressions use by its name: stated, from the header, or from a column of the table of values."""

    value: Number | None = None
    key: Literal["EchoTime", "RepetitionTime"] | None = None
    column: Text | None = None
    factor: Number = 1.0
    """From s, or the unit of the column, to the unit of the model."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if [self.value, self.key, self.column].count(None) != 2:
            raise ValueError("a constant has one of value, key (of the header) and column (of the table)")
        return self


class Parameter(_Section):
    """Start, bounds and unit of one parameter of an expression."""

    start: Number | None = None
    """Where the search starts; found on a grid between the bounds where it is not given."""
    lower: Number | None = None
    upper: Number | None = None
    unit: Text = ""
    mean: Number | None = None
    sd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Soft prior, for what the data alone hardly determine: mean and standard deviation, both or none."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.lower, self.upper
        if low is not None and high is not None and not low < high:
            raise ValueError(f"lower {low:g} is not below upper {high:g}")
        if (self.mean is None) != (self.sd is None):
            raise ValueError("a prior has both mean and sd")
        if self.start is not None and not (
            (low is None or low <= self.start) and (high is None or self.start <= high)
        ):
            raise ValueError(f"start {self.start:g} is not between its bounds")
        return self


class Course(_Section):
    """How a concentration follows the variable."""

    model: Annotated[str, Field(min_length=1, max_length=300)]
    """One of `series_courses.NAMED`, `free`, `fixed`, `polynomial`, `glm`, or an expression of the variable."""
    parameters: dict[Name, Parameter] = {}
    regressors: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    """Columns of the design, by name, for `glm`."""
    order: Annotated[int, Field(ge=1, le=8)] = 2
    """Of `polynomial`."""
    derived: dict[Name, Text] = {}
    """Further quantities, as expressions of the parameters: reported with their standard deviation."""


class Group(_Section):
    """Metabolites that share the nonlinear parameters of one course, each with amplitudes of its own.

    What is not given is that of `concentrations`.
    """

    name: Name
    members: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Components of the basis; `broad` stands for all macromolecules and lipids."""
    model: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    parameters: dict[Name, Parameter] = {}
    regressors: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    order: Annotated[int, Field(ge=1, le=8)] | None = None
    derived: dict[Name, Text] = {}

    def course(self, usual: Course) -> Course:
        """Return the course of its members."""
        if self.model is not None and self.model != usual.model:
            return Course(
                model=self.model,
                parameters=self.parameters,
                regressors=self.regressors,
                order=self.order or usual.order,
                derived=self.derived,
            )
        return Course(
            model=usual.model,
            parameters=usual.parameters | self.parameters,
            regressors=self.regressors or usual.regressors,
            order=self.order or usual.order,
            derived=usual.derived | self.derived,
        )


class Linked(_Section):
    """How a nuisance follows the variable; one of few forms that are linear in what is searched."""

    model: Literal["fixed", "free", "linear", "polynomial", "glm"]
    regressors: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    order: Annotated[int, Field(ge=1, le=8)] = 2


class Regressor(_Section):
    """One column of the design of a general linear model."""

    name: Name
    kind: Literal["constant", "drift", "events", "column"]
    """`constant`: 1. `drift`: time or variable from -1 to 1, to the power `order`. `events`: what is on during the
    events of one type, delayed and smoothed by `response`. `column`: a column of the table of values."""
    order: Annotated[int, Field(ge=1, le=4)] = 1
    trial_type: Text | None = None
    """Type of the events, as in a BIDS events table; all where it is not given."""
    response: Literal["none", "hrf"] = "none"
    """`hrf`: the canonical response of blood oxygenation (Glover 1999, doi:10.1006/nimg.1998.0419)."""
    column: Text | None = None

    @model_validator(mode="after")
    def _has_a_column(self) -> Self:
        if (self.kind == "column") != (self.column is not None):
            raise ValueError("a regressor of kind 'column' names its column, and no other does")
        return self


class SeriesModel(_Section):
    """The whole model of a series."""

    name: Name
    description: Text = ""
    source: Text = ""
    """Where the numbers in it come from."""
    variable: Variable
    alignment: Literal["each", "all"] = "each"
    """`each`: shots are aligned, and unlike ones left out, within each spectrum of the series, whose amplitudes and
    phases may differ. `all`: among all shots, which differ by little."""
    signed: bool = False
    """Whether signals may be inverted, so that the phase is common to all spectra and no spectrum is fitted alone."""
    reference: Literal["smallest", "largest"] = "smallest"
    """Value of the variable at which the signal is strong: that spectrum is fitted first."""
    regressors: Annotated[tuple[Regressor, ...], Field(strict=False)] = ()
    constants: dict[Name, Constant] = {}
    concentrations: Course
    """Of every component that is in no group."""
    groups: Annotated[tuple[Group, ...], Field(strict=False)] = ()
    phase: Linked = Linked(model="free")
    shift: Linked = Linked(model="free")
    gauss: Linked = Linked(model="fixed")
    lorentz: Linked = Linked(model="fixed")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [one.name for one in self.regressors]
        if len(set(known)) < len(known):
            raise ValueError(f"two regressors have one name among {', '.join(known)}")
        parts: list[Course | Linked] = [group.course(self.concentrations) for group in self.groups]
        parts += [self.concentrations, self.phase, self.shift, self.gauss, self.lorentz]
        for part in parts:
            missing = [name for name in part.regressors if name not in known]
            if missing:
                raise ValueError(f"regressor {missing[0]!r} is not among {', '.join(known) or 'none'}")
            if part.model == "glm" and not part.regressors:
                raise ValueError("model 'glm' names no regressors")
        members = [member for group in self.groups for member in group.members]
        twice = sorted({member for member in members if members.count(member) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is in two groups")
        if self.signed and self.phase.model == "free":
            raise ValueError(
                "signals may be inverted, so the phase cannot be free: a sign is a phase of 180 degrees"
            )
        return self
