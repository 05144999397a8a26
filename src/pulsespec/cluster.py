"""Blocks on a cluster: `dask.distributed`, at an address or in jobs of SLURM (extra: cluster)."""

import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from pulsespec.errors import InputError, MismatchError, WorkerError
from pulsespec.kept import fingerprint
from pulsespec.workers import compute

SLURM = "slurm"
_CONNECT_S = 20
_COUNT_EVERY_S = 1.0
_HINT = "pip install 'pulsespec[cluster]'"


def check_name(name: str) -> None:
    """Raise `InputError` where `name` is no cluster: an address, `slurm`, or a TOML file."""
    if "://" in name or name == SLURM:
        return
    if not name.endswith(".toml"):
        raise InputError(
            f"--cluster: got {name!r}, expected an address such as tcp://host:8786, 'slurm', or a TOML file"
        )
    read_slurm(Path(name))


def read_slurm(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the number of jobs, and the options of `dask_jobqueue.SLURMCluster`, that a TOML file holds.

    The file has a table `[slurm]`; `jobs` in it is how many are asked for, everything else goes to dask-jobqueue.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: no such file") from error
    except ValueError as error:
        raise InputError(f"{path}: is not TOML: {error}") from error
    table = content.get(SLURM)
    if not isinstance(table, dict) or set(content) != {SLURM}:
        raise InputError(f"{path}: has {', '.join(content) or 'nothing'}, expected one table [slurm]")
    jobs = table.pop("jobs", 1)
    if type(jobs) is not int or jobs < 1:
        raise InputError(f"{path}: jobs = {jobs!r}, expected a number of SLURM jobs of at least 1")
    return jobs, table


@contextmanager
def connect(name: str, say: Callable[[str], None]) -> Iterator["DaskCluster"]:
    """Yield the cluster of that name; jobs of SLURM are asked for at the begin and cancelled at the end.

    Raises
    ------
    InputError
        `name` is no cluster, or the extra is not installed.
    WorkerError
        Nothing answers at the address.

    """
    check_name(name)
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(f"--cluster: needs dask.distributed: {_HINT}") from error
    if "://" not in name:
        with _slurm(name, say) as cluster, Client(cluster, set_as_default=False) as client:
            yield DaskCluster(client, name, say)
        return
    try:
        client = Client(name, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise WorkerError(f"--cluster: no scheduler of dask answers at {name}") from error
    with client:
        yield DaskCluster(client, name, say)


@contextmanager
def _slurm(name: str, say: Callable[[str], None]) -> Iterator[Any]:
    """Yield a cluster of SLURM jobs; without a file, options are those of dask-jobqueue's own configuration."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError(f"--cluster: needs dask-jobqueue: {_HINT}") from error
    jobs, options = (1, {}) if name == SLURM else read_slurm(Path(name))
    options.setdefault("scheduler_options", {}).setdefault("dashboard_address", ":0")
    try:
        cluster = SLURMCluster(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"--cluster {name}: {error}") from error
    with cluster:
        say(f"asking SLURM for {jobs} jobs")
        cluster.scale(jobs=jobs)
        yield cluster


class DaskCluster:
    """A scheduler of dask and its workers."""

    def __init__(self, client: Any, name: str, say: Callable[[str], None]) -> None:
        self.client = client
        self.name = name
        self.say = say

    def crew(self, function: Any) -> "DaskCrew":
        """Return a crew that knows `function`."""
        if not self.client.nthreads():
            self.say(f"cluster {self.name}: waiting for a worker")
            self.client.wait_for_workers(1)
        return DaskCrew(self, function)


class DaskCrew:
    """Workers of a cluster. The function is sent to each once; blocks follow a few at a time."""

    def __init__(self, cluster: DaskCluster, function: Any) -> None:
        import cloudpickle

        self._cluster = cluster
        self._client = cluster.client
        self._executor = self._client.get_executor(pure=False)
        self._function = cloudpickle.dumps(function)
        self._shared = self._sent()
        self._counted = (-_COUNT_EVERY_S, 1)

    def _sent(self) -> Any:
        return self._client.scatter(self._function, broadcast=True, hash=False)

    def capacity(self) -> int:
        """Return the threads of all workers at present, and one more for each worker: it then never waits."""
        at, found = self._counted
        if monotonic() - at >= _COUNT_EVERY_S:
            threads = self._asked(self._client.nthreads)
            found = max(1, sum(threads.values()) + len(threads))
            self._counted = (monotonic(), found)
        return found

    def submit(self, block: bytes) -> "Future[bytes]":
        """Begin a block on the worker that the scheduler chooses."""
        import dask

        if self._shared.status in ("lost", "cancelled"):
            self._shared = self._asked(self._sent)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            future: Future[bytes] = self._asked(
                lambda: self._executor.submit(_compute_there, fingerprint(), self._shared, block)
            )
        return future

    def _asked(self, question: Callable[[], Any]) -> Any:
        """Return what the scheduler answers; `WorkerError` where it is gone."""
        try:
            if self._client.status == "running":
                return question()
        except (OSError, TimeoutError) as error:
            raise self._over() from error
        raise self._over()

    def _over(self) -> WorkerError:
        return WorkerError(f"cluster {self._cluster.name}: its scheduler is gone")

    def lost(self, error: BaseException) -> bool:
        """Return whether the worker is gone, or what was sent to it."""
        from distributed import KilledWorker

        if self._client.status != "running":
            raise self._over() from error
        return isinstance(error, KilledWorker | CancelledError)

    def close(self) -> None:
        """Take back what has not ended."""
        self._executor.shutdown(wait=False)
        self._shared.release()


def _compute_there(expected: str, function: bytes, block: bytes) -> bytes:
    """Compute a block on a worker that has the same program: another would give other numbers."""
    if fingerprint() != expected:
        raise MismatchError(
            f"cluster: a worker has another program ({fingerprint()[-60:]}) than this one ({expected[-60:]})"
        )
    return compute(function, block)
