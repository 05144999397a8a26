"""Fixtures that all tests share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pulsespec import cli
from pulsespec.workers import one_thread


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Give each worker of pytest one BLAS thread: two for each make small products a hundred times slower."""
    with pytest.MonkeyPatch.context() as patch, one_thread():
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


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


@pytest.fixture
def pulsespec(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pulsespec", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run
