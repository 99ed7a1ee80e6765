"""What a step costs when the units of a run are on several machines, by their number and the network's delay.

A star: one unit in the middle gives a vector to arms, which give one back; an arm acts on the value of now, the middle
on that of the last step. Nothing is computed. Machines are network namespaces; each packet takes `delay` one way.

    python benchmarks/hosts.py            # needs root, for the namespaces
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
sys.path.insert(0, str(SUPPORT))

from namespaces import Machines, machines, reason_to_skip  # noqa: E402
from outside import install  # noqa: E402

from derloop.results.store import RunFolder  # noqa: E402

PORT = 7521
STEPS, WARM = 200, 40
CASES = [(hosts, delay_ms) for delay_ms in (0.0, 5.0, 20.0) for hosts in (1, 2, 4)]
"""(hosts, one-way delay in ms)"""
KIND = """
import time
import numpy as np
from derloop.contract import Interface, Port
from derloop.kind import Kind, Settings

VECTOR = Port("1", tuple(f"x{i}" for i in range(100)))

class StarSettings(Settings):
    reads: tuple[str, ...]
    arrival: str

class Star:
    def __init__(self, settings, context):
        inputs = {f"{name}.x": Port("1", VECTOR.labels, settings.arrival) for name in settings.reads}
        self.interface = Interface(context.step_ns, inputs, {"x": VECTOR, "wall_s": Port("s", ("now",))})

    def start(self):
        return {"x": np.zeros(100), "wall_s": np.zeros(1)}

    def step(self, now_ns, inputs):
        return {"x": 1.0 + 0.1 * sum(inputs.values()), "wall_s": np.array([time.monotonic()])}

    def stop(self):
        pass

STAR = Kind("star", "Gives a vector, and when.", StarSettings, Star)
"""


def scenario(hosts: int) -> dict[str, Any]:
    arms = [f"arm{i}" for i in range(hosts)]
    middle = {"kind": "star", "reads": arms, "arrival": "before"}
    federates = {"middle": middle} | {arm: {"kind": "star", "reads": ["middle"], "arrival": "now"} for arm in arms}
    head = {"name": "star", "start": "2025-07-15T00:00:00Z", "duration_s": STEPS, "step_s": 1}
    return {**head, "deadlines": {"join_s": 300, "step_s": 300}, "federates": federates}


def step_ms(out: Path) -> tuple[float, float]:
    """Return the time from step to step in the middle, ms: the tenth part is shorter than the first; the median."""
    took_s = np.diff(RunFolder(out).read("middle.wall_s")[1][WARM:, 0])
    least, median = np.quantile(took_s, [0.1, 0.5]) * 1e3
    return float(least), float(median)


def measured(folder: Path, hosts: int, delay_ms: float, environment: Mapping[str, str]) -> tuple[float, float]:
    names = [f"h{i}" for i in range(hosts)]
    (folder / "scenario.json").write_text(json.dumps(scenario(hosts)))
    (folder / "run.token").touch(0o600)
    (folder / "run.token").write_text("0123456789abcdef" * 4)
    with machines("run", *names, delay_ms=delay_ms) as where:
        placed = {name: {"federates": [f"arm{i}"]} for i, name in enumerate(names)}
        file = {"listen": where.addresses["run"], "port": PORT, "token_file": "run.token", "silence_s": 30}
        (folder / "hosts.json").write_text(json.dumps({**file, "wait_s": 300, "hosts": placed}))
        joined = [begun(where, name, folder, environment, *join_words(where, name)) for name in names]
        words = ("run", "scenario.json", "--hosts", "hosts.json", "--out", "out", "--no-report", "--quiet")
        status = begun(where, "run", folder, environment, *words).wait()
        statuses = [process.wait() for process in joined]
    if status or any(statuses):
        raise SystemExit(f"{hosts} hosts: status {status}, {statuses}")
    return step_ms(folder / "out")


def join_words(where: Machines, name: str) -> tuple[str, ...]:
    address = f"{where.addresses['run']}:{PORT}"
    return "join", address, "--name", name, "--token-file", "run.token", "--wait", "300"


def begun(
    where: Machines, machine: str, folder: Path, environment: Mapping[str, str], *words: str
) -> subprocess.Popen[bytes]:
    command = [*where.inside(machine), sys.executable, "-m", "derloop.cli", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)


def apart_ms(folder: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Return what a step costs with one arm in a process of this machine."""
    (folder / "scenario.json").write_text(json.dumps(scenario(1)))
    words = ("run", "scenario.json", "--placement", "apart", "--out", "apart", "--no-report", "--quiet")
    subprocess.run([sys.executable, "-m", "derloop.cli", *words], cwd=folder, env=environment, check=True)
    return step_ms(folder / "apart")


def installed(folder: Path) -> dict[str, str]:
    """Put the star's kind into a folder; return the environment of processes that know it."""
    kinds = install(folder / "kinds", "star_kind", {"derloop.kinds": {"star": "star_kind:STAR"}}, KIND)
    return {**os.environ, "PYTHONPATH": str(kinds)}


def main() -> None:
    if (why := reason_to_skip()) is not None:
        raise SystemExit(why)
    with TemporaryDirectory() as made:
        environment = installed(Path(made))
        (folder := Path(made) / "apart").mkdir()
        print("| hosts | one-way delay ms | ms a step, 10 % | median |\n|---|---|---|---|")
        print("| none (apart) | | {:.2f} | {:.2f} |".format(*apart_ms(folder, environment)))
        for number, (hosts, delay_ms) in enumerate(CASES):
            (folder := Path(made) / str(number)).mkdir()
            least, median = measured(folder, hosts, delay_ms, environment)
            print(f"| {hosts} | {delay_ms:g} | {least:.2f} | {median:.2f} |", flush=True)


if __name__ == "__main__":
    main()
