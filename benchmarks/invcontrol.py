"""derloop beside OpenDSS's own InvControl: `python benchmarks/invcontrol.py [--devices 100] [--step-s 60]`.

The same day, feeder, rooftops and volt-var, converged in every step. InvControl runs in the engine alone: a call for
each step, in which it finds what its control comes to, and all voltages read through a view; nothing else. derloop runs
under HELICS and records everything. `tight` is InvControl with the tolerances that bring it to its curve, `default` as
OpenDSS has it unless told otherwise, which leaves it away from it. derloop's tolerance is such that it comes about as
near to the equilibrium; how near each comes is measured against a run of derloop to 1e-9.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from peers.compared import Comparison, conclude
from peers.in_opendss import commands
from peers.rooftops import EXACT, Q_PU, V_PU, Found, Rooftops, bases_v, mean_step_s, p_pu, run

from derloop.contract import FloatArray
from federates.grid.engine import new_context

AIM = 1 / 1.2
DAY_S = 86_400
SETTINGS = {
    "tight": ("VarChangeTolerance=1e-5 VoltageChangeTolerance=1e-7 deltaQ_factor=0.3", 1e-6),
    "default": ("", 1e-3),
}
"""What InvControl is told, and the tolerance, pu, that brings derloop as near to the equilibrium, or nearer."""


def invcontrol(case: Rooftops, given_pu: FloatArray, settings: str) -> Found:
    """Have OpenDSS alone do the day: in each step it is solved and all voltages are read."""
    dss, clock_s, iterations = new_context(), np.zeros(case.steps), 0
    for command in ("Clear", *commands(case, given_pu, "daily"), *_control(case, settings)):
        dss.Text.Command(command)
    nodes = tuple(node.lower() for node in dss.Circuit.YNodeOrder())
    api, volts, size = dss._api_util, np.zeros((case.steps, len(nodes))), 16 * (len(nodes) + 1)
    lib, context, pointer = api.lib_unpatched, api.ctx, api.ffi.new("double *[1]")
    for k in range(case.steps):
        lib.ctx_Solution_Solve(context)
        lib.ctx_YMatrix_getVpointer(context, pointer)
        np.abs(np.frombuffer(api.ffi.buffer(pointer[0], size), dtype=np.complex128)[1:], out=volts[k])
        clock_s[k] = perf_counter()
        iterations += lib.ctx_Solution_Get_ControlIterations(context)
    return Found(mean_step_s(clock_s), nodes, volts / bases_v(nodes), iterations / case.steps)


def _control(case: Rooftops, settings: str) -> Iterator[str]:
    """Yield the control and how to solve. Its curve is per unit of the most reactive power."""
    q_pu = [q / Q_PU[0] for q in Q_PU]
    yield f"New XYCurve.vv npts={len(V_PU)} xarray={[*V_PU]} yarray={q_pu}"
    yield (
        "New InvControl.ic mode=VOLTVAR vvc_curve1=vv voltage_curvex_ref=rated RefReactivePower=VARMAX "
        f"EventLog=no {settings}"
    )
    yield (
        f"Set mode=daily number=1 stepsize={case.step_s:g}s controlmode=static tolerance={case.solver_tolerance} "
        "maxiterations=100 maxcontroliter=2000"
    )


def compared(case: Rooftops, rounds: int, name: str) -> Comparison:
    """Run both in turns, after a run to the equilibrium."""
    settings, tolerance_pu = SETTINGS[name]
    own, theirs = list[Found](), list[Found]()
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        scenario = replace(case, tolerance_pu=tolerance_pu).write(folder)
        exact = run(scenario, folder / "exact", *EXACT)
        given_pu = p_pu(case, folder / "exact")
        for number in range(rounds):
            own.append(run(scenario, folder / str(number)))
            theirs.append(invcontrol(case, given_pu, settings))
    work = f"IEEE 123, {case.count} rooftops, a day in {case.step_s:g} s steps"
    return Comparison.of(work, f"InvControl, {name}", AIM, own, theirs, exact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--step-s", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked, load = parser.parse_args(), os.getloadavg()
    case = Rooftops(asked.devices, asked.step_s, round(DAY_S / asked.step_s), begin_h=0.0)
    found = [compared(case, asked.rounds, name) for name in SETTINGS]
    conclude("Beside OpenDSS's own InvControl", "invcontrol", found, load)


if __name__ == "__main__":
    main()
