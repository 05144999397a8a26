"""Blocks of work that the executor's tests spread."""

import os
import threading
import time
from pathlib import Path

import numpy as np


def heavy(shared, seed):
    """A sum whose last bits depend on the order in which it is made."""
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(120, 120)) @ shared
    return {"values": np.linalg.solve(square, shared[0]), "seed": seed}


def fatal(folder, seed, times=1):
    """Block 2 kills its process the first `times` that it is tried."""
    if seed == 2:
        tries = len(list(Path(folder).glob("died*")))
        if tries < times:
            (Path(folder) / f"died-{tries}").touch()
            os.kill(os.getpid(), 9)
    (Path(folder) / f"did-{seed}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return seed * 10


def noted(folder, seed):
    """Leave a trace of each block that was computed; the fifth stops a job that is to be interrupted."""
    place = Path(folder)
    if seed == 4 and (place / "stop").exists():
        raise RuntimeError("stopped")
    (place / f"did-{seed}-{time.monotonic_ns()}").touch()
    return np.full(3, seed)


def wrong(seed):
    raise ValueError(f"seed {seed}")


def cut_off(folder, seed):
    """A large result, whose process is killed the first time while it is on its way."""
    marker = Path(folder) / f"cut-{seed}"
    if seed == 1 and not marker.exists():
        marker.touch()
        threading.Timer(0.03, os.kill, (os.getpid(), 9)).start()
    return np.full(6_000_000, float(seed))
