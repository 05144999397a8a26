"""HTML pages that refer to nothing outside themselves: templates beside this file, filled in."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jinja2

from pulsespec import __version__


def fill(template: str, figure: Callable[[Any], str], **values: Any) -> str:
    """Return a template filled in; `figure` writes numbers. What it asks for and is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    return environment.get_template(template).render(version=__version__, **values)


def _text(template: str) -> str:
    return files("pulsespec.recon").joinpath(template).read_text(encoding="utf-8")
