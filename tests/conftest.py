"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that `PULSESPEC_DATA` names; tests that need it skip where it is unset."""
    folder = os.environ.get("PULSESPEC_DATA")
    if not folder:
        pytest.skip("PULSESPEC_DATA is not set: no real data to test on")
    return Path(folder)
