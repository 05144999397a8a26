"""Fixtures that all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the command line caches out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULSESPEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that `PULSESPEC_DATA` names; tests that need it skip where it is unset."""
    folder = os.environ.get("PULSESPEC_DATA")
    if not folder:
        pytest.skip("PULSESPEC_DATA is not set: no real data to test on")
    return Path(folder)
