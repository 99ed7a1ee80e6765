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
from dataclasses import asdict
from pathlib import Path

import numpy as np
from peers.compared import Comparison, conclude
from peers.in_opendss import commands
from peers.rooftops import EXACT, Q_PU, V_PU, Rooftops, mean_step_s, run

from derloop.contract import FloatArray

WORKER = Path(__file__).resolve().parent / "peers" / "in_pydss.py"
AIM = 25.0
HOUR_S = 3600
TOLERANCE_PU = 1e-6
"""Of PyDSS: the largest change of a reactive power between two control loops, of its rating; and of the solution; as
derloop's is of voltages."""
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


def pydss(python: str, case: Rooftops, p_pu: FloatArray, folder: Path) -> Path:
    """Have PyDSS run the case; return what it has found."""
    feeder, job, found = folder / "Master.dss", folder / "job.json", folder / "pydss.npz"
    feeder.write_text("\n".join(commands(case, p_pu, "yearly")) + "\n", encoding="utf-8")
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
    return found


def _own_environment() -> dict[str, str]:
    """Return the environment variables, without those that would lend PyDSS packages of ours."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def compared(python: str, case: Rooftops, rounds: int) -> Comparison:
    """Run both in turns, after a run to the equilibrium."""
    own_s, theirs_s, apart, remarks = [], [], [], {}
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        scenario = case.write(folder)
        exact = run(scenario, folder / "exact", *EXACT)
        for number in range(rounds):
            own = run(scenario, folder / str(number))
            (theirs := folder / f"pydss-{number}").mkdir()
            with np.load(pydss(python, case, own.p_pu, theirs)) as found:
                nodes, v_pu = list(found["nodes"]), found["v_pu"]
                theirs_s.append(mean_step_s(found["clock_s"]))
                remarks = {
                    "its control loops a step": float(found["passes"]),
                    "its steps without convergence": float(found["unconverged"]),
                }
            own_s.append(own.step_s)
            apart.append(own.v_apart_pu(nodes, v_pu))
    remarks |= {
        "derloop's solutions a step": own.passes,
        "it is from the equilibrium, pu": exact.v_apart_pu(nodes, v_pu),
        "derloop is from it, pu": exact.v_apart_pu([*own.nodes], own.v_pu),
    }
    work = f"IEEE 123, {case.count} rooftops, converged, {case.step_s:g} s steps"
    return Comparison(work, "PyDSS", tuple(own_s), tuple(theirs_s), AIM, max(apart), remarks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", metavar="PYTHON")
    parser.add_argument("--devices", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--step-s", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked, load = parser.parse_args(), os.getloadavg()
    check(asked.python)
    steps = round(HOUR_S / asked.step_s)
    cases = [Rooftops(devices, asked.step_s, steps, begin_h=11.5) for devices in asked.devices]
    conclude("Beside PyDSS", "pydss", [compared(asked.python, case, asked.rounds) for case in cases], load)


if __name__ == "__main__":
    main()
