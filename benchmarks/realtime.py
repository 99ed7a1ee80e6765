"""Real time: a fleet on a bench, polled and commanded ten times a second, in a feeder that is solved in between.

    python benchmarks/realtime.py                              # an hour, 20 devices, every 100 ms
    python benchmarks/realtime.py --minutes 2 --devices 100    # shorter, larger

`derloop emulate` serves the devices from a process of its own, on its own clock, over Modbus TCP on loopback; the run
has them as equipment of a bench, armed, with everything that keeps them safe, and records every frame. Printed are the
deadlines missed and percentiles; they are kept in `results/<date>-realtime.json`. A machine that others use as well is
late for their sake: the load average stands beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from derloop.options import Options
from derloop.result import Result
from derloop.running import run as run_scenario

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "scenarios" / "kind_emulator.json"
RESULTS = Path(__file__).parent / "results"
SPARE_S = 600.0
"""For how much longer than the run the devices are served at most."""
COLUMNS = ("p50", "p95", "p99", "max")


def main() -> int:
    """Measure; 0 when the run came to its end."""
    asked = _asked()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DERLOOP_STATE"] = str(folder / "state")
        with _served(folder, asked) as bench:
            result = _ran(folder, bench, asked)
        timing = result.folder.run.get("timing") or {}
    _show(asked, result, timing)
    _keep(asked, result, timing)
    return 0 if result.outcome == "completed" else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Missed deadlines and lateness of a real-time run.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--step-ms", type=int, default=100)
    parser.add_argument("--engine", default="helics", choices=["helics", "local", "mosaik"])
    parser.add_argument("--emulate-ms", type=int, default=250, help="how often the served devices' models are stepped")
    return parser.parse_args()


def _fleet(asked: argparse.Namespace) -> list[str]:
    """Return the scenario's settings that make its one inverter a fleet."""
    places = json.dumps({"count": asked.devices, "on": "loads"})
    return [
        f"federates.inverter.at={places}",
        f"federates.inverter.rated_kva={500 / asked.devices:g}",
        f"federates.inverter.energy_kwh={2000 / asked.devices:g}",
    ]


@contextmanager
def _served(folder: Path, asked: argparse.Namespace) -> Iterator[Path]:
    """Serve the devices from another process, for as long as the block lasts; give their bench file."""
    bench, for_s = folder / "bench.json", asked.minutes * 60 + SPARE_S
    sets = [word for setting in _fleet(asked) for word in ("--set", setting)]
    words = ["emulate", str(SCENARIO), "--bench", str(bench), "--json", "--for", f"{for_s:g}", *sets]
    words += ["--step", f"{asked.emulate_ms / 1e3:g}"]
    command = [sys.executable, "-m", "derloop.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout
        for _ in range(asked.devices):
            json.loads(process.stdout.readline())  # each line is a device that can be reached
        try:
            yield bench
        finally:
            process.terminate()
            process.communicate(timeout=60)


def _ran(folder: Path, bench: Path, asked: argparse.Namespace) -> Result:
    step_s = asked.step_ms / 1e3
    duration_s = round(asked.minutes * 60 / step_s) * step_s
    sets = [
        *_fleet(asked),
        f"step_s={step_s:g}",
        f"duration_s={duration_s:g}",
        "federates.inverter.via=bench:inverter_*",
    ]
    names = [f"inverter_{i}" for i in range(asked.devices)]
    options = Options(engine=asked.engine, out=folder / "run", report=False, bench=bench, arm=names)
    return run_scenario(SCENARIO, sets, options)


def _show(asked: argparse.Namespace, result: Result, timing: dict[str, Any]) -> None:
    print(f"{asked.devices} devices every {asked.step_ms} ms for {asked.minutes:g} min under {asked.engine}:")
    print(f"{result.outcome} {result.failure}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if timing:
        print(f"missed deadlines: {timing['missed']} of {timing['instants']} instants")
        print(f"{'ms':<24}" + "".join(f"{column:>10}" for column in COLUMNS))
        for what, seconds in _lines(timing):
            print(f"{what:<24}" + "".join(f"{1e3 * seconds[column]:>10.2f}" for column in COLUMNS))


def _lines(timing: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    yield "begin of an instant", timing["begin_s"]
    yield "end of an instant", timing["end_s"]
    for name, one in timing["federates"].items():
        yield from ((f"{name}: {key}", one[key]) for key in ("step_s", "modbus_s", "age_s", "delay_s") if one[key])


def _keep(asked: argparse.Namespace, result: Result, timing: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "asked": vars(asked),
        "outcome": result.outcome,
        "failure": result.failure,
        "timing": timing,
        "load": os.getloadavg(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    path = RESULTS / f"{datetime.now():%Y%m%d-%H%M%S}-realtime.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"kept in {path}")


if __name__ == "__main__":
    sys.exit(main())
