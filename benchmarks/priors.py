"""Settings of the fit on the command lines of benchmarks: soft priors on or off, and any other setting by name."""

import argparse
import json
from dataclasses import replace
from typing import Any

from pulsespec.recon.fit import FitSettings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `settings_from` reads."""
    parser.add_argument(
        "--priors", choices=("on", "off"), default="on", help="what is expected of metabolites; default: on"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=JSON",
        help="any setting of the fit, such as t2_widths=true or ppm_range=[0.5,4.0]",
    )


def settings_from(options: argparse.Namespace) -> FitSettings:
    """Return the default settings with what the command line changes."""
    changes: dict[str, Any] = {}
    for one in options.set:
        name, _, value = one.partition("=")
        found = json.loads(value)
        changes[name] = tuple(found) if isinstance(found, list) else found
    return replace(settings_of(options.priors), **changes)


def settings_of(priors: str) -> FitSettings:
    """Return the default settings, or with "off" those without what is expected of metabolites.

    Ratios among macromolecules and lipids stay: without them their model is another one.
    """
    return FitSettings(metabolite_priors=priors == "on")
