"""CPU time and memory of a basis set of 21 metabolites, beside MRSandbox (MIT, JAX) in the same run.

    pip install -r benchmarks/requirements-verification.txt      # or in an environment of its own:
    python benchmarks/beside_mrsandbox.py [--theirs /path/to/other/python] [--only press steam]

Both programs simulate the same kind of sequence at the same field for the same spin systems (FID-A's table) with
its localisation played: MRSandbox its `Localized...` designs with 32 positions an axis, in single precision; this
project a `.seq` from a shipped protocol, once as shipped (with VAPOR, which MRSandbox's designs do not have) and once
without suppression, at its default tolerance. Pulses and echo times are each program's own, so spectra differ.

Each row is a process of its own on one core. CPU time is user and system time of the whole process: the first run
(imports, compilation, designs) and a second run in the same process. MRSandbox is shown twice: `lines`, which its
basis sets use, and its compiled graphs. What a program cannot simulate is said, not left out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

F0_MHZ = 123.25
ISOCHROMATS = 32
NAMES = (
    *("NAA", "NAAG", "Cr", "PCr", "GPC", "PCh", "Ins", "Scyllo", "Glu", "Gln", "GABA"),
    *("GSH", "Lac", "Ala", "Asp", "Asc", "Tau", "Gly", "PE", "Glc", "Ser"),
)
THEIR_NAMES = {"PCh": "PCho", "Scyllo": "sIns"}
TASKS = {
    "press": "press-3t-te30",
    "steam": "steam-3t-te20-tm10",
    "semi-laser": "semi-laser-3t-te30",
    "mega-press": "mega-press-3t-gaba",
}
"""Protocols; MEGA-PRESS is on and off."""
PROGRAMS = ("ours-as-shipped", "ours-bare", "theirs-lines", "theirs-compiled")
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "jax",
}


def used():
    """Return the CPU seconds of this process and its peak memory in MiB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def ours(task, path):
    """Return a function that simulates all conditions of a `.seq` file."""
    from pulsespec.simulator.simulate import simulate_each

    conditions = (0, 1) if task == "mega-press" else (0,)
    return lambda: simulate_each(path, NAMES, f0_hz=F0_MHZ * 1e6, conditions=conditions)


def theirs(task, compiled):
    """Return a function that simulates all conditions with MRSandbox."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
    import mrsandbox
    import numpy as np

    designs = {
        "press": lambda: [mrsandbox.LocalizedPress(0.012, 0.018, F0_MHZ)],
        "steam": lambda: [mrsandbox.LocalizedSteam(0.020, 0.010, F0_MHZ)],
        "semi-laser": lambda: [mrsandbox.LocalizedSemiLaser(0.030, F0_MHZ)],
        "mega-press": lambda: list(mrsandbox.LocalizedMegaPress.pair(F0_MHZ).values()),
    }[task]()
    engine = mrsandbox.Engine(F0_MHZ / 42.5774785, isochromats=ISOCHROMATS)
    no_relaxation = np.array([1e9], dtype=np.float32)

    def run():
        for design in designs:
            for name in NAMES:
                systems = mrsandbox.SpinSystem.from_database(
                    THEIR_NAMES.get(name, name), source="govindaraju"
                )
                if compiled:
                    graph, _ = engine.compiled_batch(design, (systems,))
                    _, amplitudes = graph(no_relaxation, no_relaxation, 1.0, 0.0)
                else:
                    _, amplitudes = engine.lines(design, *systems)
                np.asarray(amplitudes)

    return run


def work(program, task, path):
    """Simulate twice in this process and print what it took as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run = ours(task, path) if program.startswith("ours") else theirs(task, program.endswith("compiled"))
    found = {}
    before = 0.0
    for which in ("first_s", "again_s"):
        run()
        now, found["peak_mib"] = used()
        found[which], before = now - before, now
    print(json.dumps(found))


def measure(program, task, path, python):
    """Run a worker; return its figures, or the last line of what went wrong."""
    command = [python, __file__, "--worker", program, task, str(path)]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def export(folder):
    """Write the `.seq` files in a process of its own, so that this one stays small."""
    code = (
        "from pathlib import Path\n"
        "from pulsespec.protocols import load_protocol\n"
        "from pulsespec.sequences import build, load_scanner, write_sequence\n"
        f"for name in {sorted(TASKS.values())!r}:\n"
        "    protocol, scanner = load_protocol(name), load_scanner('siemens-prisma')\n"
        "    bare = protocol.model_copy(update={'water_suppression': None})\n"
        f"    write_sequence(build(protocol, scanner), Path({str(folder)!r}, name + '-ours-as-shipped.seq'))\n"
        f"    write_sequence(build(bare, scanner), Path({str(folder)!r}, name + '-ours-bare.seq'))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def main():
    """Print a row for each task and program, and the ratios of the second runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--theirs", default=sys.executable, help="a Python that has mrsandbox[jax]")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        program, task, path = options.worker
        work(program, task, Path(path))
        return
    print(f"{len(NAMES)} metabolites at {F0_MHZ} MHz; CPU seconds, MiB")
    print(f"{'task':12} {'program':16} {'first':>8} {'again':>8} {'peak':>7}   theirs / ours: again, peak")
    with tempfile.TemporaryDirectory() as folder:
        export(folder)
        for task in options.only:
            compare(task, folder, options.theirs)


def compare(task, folder, python):
    """Measure all programs on one task; ratios are to our bare file, the same task as theirs."""
    reference = None
    for program in PROGRAMS:
        path = Path(folder, f"{TASKS[task]}-{program}.seq")
        found = measure(program, task, path, sys.executable if program.startswith("ours") else python)
        if isinstance(found, str):
            print(f"{task:12} {program:16} {found[:160]}", flush=True)
            continue
        row = (
            f"{task:12} {program:16} {found['first_s']:8.1f} {found['again_s']:8.1f} {found['peak_mib']:7.0f}"
        )
        if program == "ours-bare":
            reference = found
        elif reference is not None:
            ratios = [found[key] / reference[key] for key in ("again_s", "peak_mib")]
            row += f"   {ratios[0]:.1f}, {ratios[1]:.1f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
