"""derloop beside PyDSS: `python benchmarks/pydss.py PYTHON [--devices 50 200] [--step-s 20]`.

PYTHON is that of an environment with PyDSS, which needs Python 3.10 or older and pins packages:

    python3.10 -m venv ENV && ENV/bin/pip install nrel-pydss==3.1.10
    python benchmarks/pydss.py ENV/bin/python

The same hour about noon, feeder, rooftops and volt-var, converged in every step. How near to the equilibrium each comes
is measured: voltages are compared with those of a run of derloop to 1e-9. PyDSS exports nothing here, derloop records
everything.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from peers.compared import Comparison, conclude
from peers.in_opendss import commands
from peers.rooftops import EXACT, Q_PU, V_PU, Found, Rooftops, mean_step_s, p_pu, run

from derloop.contract import FloatArray

WORKER = Path(__file__).resolve().parent / "peers" / "in_pydss.py"
AIM = 25.0
HOUR_S = 3600
TOLERANCE_PU = 1e-6
"""Of PyDSS: the largest change of a reactive power between two control loops, of its rating; and of the solution."""
OWN_TOLERANCES_PU = {"derloop to 1e-6": 1e-6, "derloop as near": 1e-4}
"""Of derloop: the largest change of a voltage between two solutions. The same number, and as near at worst."""
DAMPING = 0.8
"""As PyDSS has it unless told otherwise."""


def check(python: str) -> None:
    """End the program where this is no Python with PyDSS."""
    try:
        asked = subprocess.run([python, "-c", "import pydss.dssInstance"], capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(
            f"{python}: {error.strerror}; PYTHON is that of an environment with PyDSS: see --help"
        ) from None
    if asked.returncode:
        raise SystemExit(f"{python} has no PyDSS ({asked.stderr.strip().splitlines()[-1]}): see --help")


def pydss(python: str, case: Rooftops, given_pu: FloatArray, folder: Path) -> Found:
    """Have PyDSS run the case."""
    feeder, job, found = folder / "Master.dss", folder / "job.json", folder / "pydss.npz"
    folder.mkdir()
    feeder.write_text("\n".join(commands(case, given_pu, "yearly")) + "\n", encoding="utf-8")
    said = {
        "feeder": str(feeder),
        "places": [asdict(place) for place in case.places()],
        "curve": {"v_pu": V_PU, "q_pu": Q_PU},
        "step_s": case.step_s,
        "steps": case.steps,
        "tolerance": TOLERANCE_PU,
        "damping": DAMPING,
        "found": str(found),
    }
    job.write_text(json.dumps(said), encoding="utf-8")
    ended = subprocess.run([python, str(WORKER), str(job)], capture_output=True, text=True, env=_own_environment())
    if ended.returncode:
        raise SystemExit(f"PyDSS: {ended.stderr.strip()[-800:]}")
    with np.load(found) as held:
        if held["unconverged"]:
            raise SystemExit(f"PyDSS did not converge in {held['unconverged']} steps")
        nodes = tuple(node.lower() for node in held["nodes"])
        return Found(mean_step_s(held["clock_s"]), nodes, held["v_pu"], float(held["passes"]))


def _own_environment() -> dict[str, str]:
    """Return the environment variables, without those that would lend PyDSS packages of ours."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def compared(python: str, case: Rooftops, rounds: int) -> Iterator[Comparison]:
    """Run both in turns, after a run to the equilibrium."""
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        scenario = case.write(folder)
        exact = run(scenario, folder / "exact", *EXACT)
        given, theirs, own = p_pu(case, folder / "exact"), list[Found](), defaultdict[str, list[Found]](list)
        for number in range(rounds):
            theirs.append(pydss(python, case, given, folder / f"pydss-{number}"))
            for name, tolerance_pu in OWN_TOLERANCES_PU.items():
                own[name].append(run(scenario, folder / f"{name} {number}", f"coupling.tolerance={tolerance_pu}"))
    for name, found in own.items():
        work = f"IEEE 123, {case.count} rooftops, {case.step_s:g} s steps, {name}"
        yield Comparison.of(work, "PyDSS", AIM, found, theirs, exact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", metavar="PYTHON")
    parser.add_argument("--devices", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--step-s", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked, load = parser.parse_args(), os.getloadavg()
    check(asked.python)
    steps = round(HOUR_S / asked.step_s)
    cases = [Rooftops(n, asked.step_s, steps, begin_h=11.5, solver_tolerance=1e-7) for n in asked.devices]
    found = [comparison for case in cases for comparison in compared(asked.python, case, asked.rounds)]
    conclude("Beside PyDSS", "pydss", found, load)


if __name__ == "__main__":
    main()
