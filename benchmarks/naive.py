"""derloop beside a naive federation: `python benchmarks/naive.py [--devices 50] [--steps 300] [--rounds 3]`.

Naive is one process for each device and one publication for each value, over ZeroMQ. Both do the same: rooftops with
volt-var on IEEE 123, one-second steps, devices that act on the voltages of the last step. `in turn`, the feeder waits
for them and is solved for what they give in this step, as it is by derloop, and voltages are the same; `all at once`,
it is solved meanwhile for what they gave in the last, which is quicker, and voltages are those of a second ago.
derloop records everything, the federation keeps its voltages alone, in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from peers.compared import Comparison, conclude
from peers.rooftops import FEEDER, Q_PU, V_PU, Found, Rooftops, mean_step_s, run

from derloop.engines.broker import LOOPBACK, close, opened

PEERS = Path(__file__).resolve().parent / "peers"
LONGEST_S = 600.0
"""After which a federation is given up."""
AIM = 80.0


@contextmanager
def broker(federates: int) -> Iterator[int]:
    """Have a broker while the context lasts; give its port."""
    begun, port = opened(federates, "zmq", LOOPBACK)
    try:
        yield port
    finally:
        close(begun)


@contextmanager
def process(complaints: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a process while the context lasts, and end it by its id if it is still there then."""
    with complaints.open("wb") as file:
        begun = subprocess.Popen((sys.executable, *command), stderr=file, stdout=subprocess.DEVNULL)
    try:
        yield begun
    finally:
        begun.kill()
        begun.wait()


def federation(case: Rooftops, folder: Path, waits: bool) -> Found:
    """Run the naive federation to its end."""
    places, job, complaints = [asdict(place) for place in case.places()], folder / "job.json", folder / "complaints"
    found = folder / "naive.npz"
    said = {
        "feeder": str(FEEDER),
        "places": places,
        "curve": {"v_pu": V_PU, "q_pu": Q_PU, "response_s": case.response_s},
        "step_s": case.step_s,
        "light_wm2": case.light_wm2()[: case.steps],
        "tolerance": case.solver_tolerance,
        "waits": waits,
        "found": str(found),
    }
    complaints.mkdir()
    members = [(str(PEERS / "grid.py"), str(job))]
    members += [(str(PEERS / "device.py"), str(job), str(k)) for k in range(len(places))]
    with ExitStack() as stack:
        port = stack.enter_context(broker(len(members)))
        job.write_text(json.dumps({**said, "port": port}), encoding="utf-8")
        begun = [stack.enter_context(process(complaints / str(k), *member)) for k, member in enumerate(members)]
        end(begun, complaints)
    with np.load(found) as held:
        return Found(mean_step_s(held["clock_s"]), tuple(node.lower() for node in held["nodes"]), held["v_pu"])


def end(processes: list[subprocess.Popen[bytes]], complaints: Path) -> None:
    """Wait for all to end; end the program where one does not end well."""
    until, statuses = monotonic() + LONGEST_S, [process.poll() for process in processes]
    while None in statuses and not any(statuses) and monotonic() < until:
        sleep(0.1)
        statuses = [process.poll() for process in processes]
    if None in statuses or any(statuses):
        said = next((text for file in sorted(complaints.iterdir()) if (text := file.read_text().strip())), "no end")
        raise SystemExit(f"the naive federation: {said[-500:]}")


def compared(case: Rooftops, rounds: int, waits: bool) -> Comparison:
    """Run both in turns. derloop does ten times as many steps, so that as much time is measured."""
    own, theirs = list[Found](), list[Found]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as named:
            folder = Path(named)
            theirs.append(federation(case, folder, waits))
            own.append(run(replace(case, steps=10 * case.steps).write(folder), folder / "run"))
    work = f"IEEE 123, {case.count} rooftops, delayed, {case.step_s:g} s steps"
    other = "a process for each, in turn" if waits else "a process for each, all at once"
    return Comparison.of(work, other, AIM, own, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300, help="of the federation; derloop does ten times as many")
    parser.add_argument("--rounds", type=int, default=3)
    asked, load = parser.parse_args(), os.getloadavg()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # as by Ctrl-C, so that processes are ended
    case = Rooftops(
        asked.devices, 1.0, asked.steps, begin_h=11.0, coupling="delayed", response_s=5.0, solver_tolerance=1e-6
    )
    found = [compared(case, asked.rounds, waits) for waits in (False, True)]
    conclude("Beside a naive federation over HELICS", "naive", found, load)


if __name__ == "__main__":
    main()
