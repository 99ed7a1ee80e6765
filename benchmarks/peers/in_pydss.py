"""PyDSS, in an environment of its own: `in_pydss.py JOB`, run by that environment's Python.

Nothing of derloop is imported here. Nothing is exported: only what it takes to step and to control is timed.
"""

import contextlib
import json
import sys
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np
import opendssdirect as dss
from loguru import logger
from pydss.common import ControllerType
from pydss.dssInstance import OpenDSS
from pydss.pydss_project import PyDssProject, PyDssScenario

SCENARIO = "one"


def controllers(said):
    """Return the volt-var control of each PV system."""
    v_pu, (q_most, *_) = said["curve"]["v_pu"], said["curve"]["q_pu"]
    points = dict(zip(("uMin", "uDbMin", "uDbMax", "uMax"), v_pu))  # noqa: B905 - Python 3.10 and older
    settings = {
        **points,
        **{"Control1": "VVar", "Control2": "None", "Control3": "None", "QlimPU": q_most, "DampCoef": said["damping"]},
        **{"pf": 1, "pfMin": 0.8, "pfMax": 1, "Pmin": 0, "Pmax": 1, "PFlim": 0.9, "Enable PF limit": False},
        **{"uMinC": 1.06, "uMaxC": 1.1, "PminVW": 10, "VWtype": "Rated Power", "Efficiency": 100},
        **{"%PCutin": 0, "%PCutout": 0, "Priority": "Var", "VmeaMethod": "Avg"},
    }
    return {f"PVSystem.{place['name']}": settings for place in said["places"]}


def project(said, folder):
    """Write a project of PyDSS; return it with its only scenario."""
    scenario = PyDssScenario(SCENARIO, controllers={ControllerType.PV_CONTROLLER: controllers(said)})
    options = {
        "project": {
            "simulation_duration_min": said["steps"] * said["step_s"] / 60,
            "step_resolution_sec": said["step_s"],
            "error_tolerance": said["tolerance"],
            "max_control_iterations": 100,
            "dss_file": said["feeder"],
            "dss_file_absolute_path": True,
        },
        "exports": {"export_results": False},
        "logging": {"enable_console": False, "enable_file": False, "log_time_step_updates": False},
    }
    made = PyDssProject.create_project(
        str(folder), "project", [scenario], options=options, master_dss_file=said["feeder"], force=True
    )
    return made, scenario


class Watched:
    """A simulation of PyDSS with a clock that stops while voltages are read."""

    def __init__(self, made):
        settings = made.simulation_config
        settings.project.active_scenario = SCENARIO
        made._hdf_store = h5py.File("nothing", "w", driver="core", backing_store=False)
        self._running = OpenDSS(settings)
        self._stepped, self._running.RunStep = self._running.RunStep, self._step
        self._aside_s, self.clock_s, self.v_pu, self.unconverged = 0.0, [], [], 0

    def _step(self, *arguments):
        """Step as PyDSS does; then read, before it goes on to the next instant."""
        converged = self._stepped(*arguments)
        began = perf_counter()
        self.v_pu.append(dss.Circuit.AllBusMagPu())
        self._aside_s += perf_counter() - began
        return converged

    def run(self, made, scenario):
        for is_complete, _, has_converged, _ in self._running.RunSimulation(made, scenario):
            if is_complete:
                break
            self.unconverged += not has_converged
            self.clock_s.append(perf_counter() - self._aside_s)

    @property
    def loops(self):
        """Return how many loops of the control there were in which something was commanded and solved."""
        return sum(loops * steps for loops, steps in self._running._controller_iteration_counts.items())


def main():
    said = json.loads(Path(sys.argv[1]).read_text())
    logger.remove()
    with contextlib.redirect_stdout(sys.stderr):
        made, scenario = project(said, Path(sys.argv[1]).parent)
        watched = Watched(made)
        watched.run(made, scenario)
    np.savez(
        said["found"],
        clock_s=watched.clock_s,
        v_pu=watched.v_pu,
        nodes=dss.Circuit.AllNodeNames(),
        passes=watched.loops / said["steps"],
        unconverged=watched.unconverged,
    )


if __name__ == "__main__":
    main()
