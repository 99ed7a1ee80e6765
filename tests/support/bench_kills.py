"""Devices in a process of their own, runs that command them, and what is left of both after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sockets import free_ports
from spread import hosts_file

from hil.inverter.device import Device
from hil.modbus.endpoint import Address, Tcp, Timing
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.keeper import Keeper
from hil.safety.record import Record, Records
from hil.safety.rules import SafetyRules

T = TypeVar("T")
SUPPORT = Path(__file__).parent
LEASE_S = 1
SWITCHES = ("704.WMaxLimPctEna", "704.WSetEna", "704.VarSetEna", "705.Ena")
PATIENCE_S = 180.0
SCENARIOS = SUPPORT.parents[1] / "scenarios"
SHAVING = {
    "name": "kills",
    "start": "2025-07-15T18:00:00-07:00",
    "duration_s": 600,
    "step_s": 0.2,
    "federates": {
        "grid": {"kind": "opendss", "feeder": "feeders/ieee13/ieee13.dss"},
        "homes": {
            "kind": "load",
            "profile": {"file": "profiles/load_shapes_summer.csv", "column": "residential_pu"},
            "scale": 0.8,
        },
        "storage": {
            "kind": "battery",
            "via": "bench:inv-*",
            "at": [{"bus": f"{bus}.1.2.3", "rated_kva": 10} for bus in (671, 675)],
            "energy_kwh": 40,
            "mode": "commanded",
        },
        "vpp": {"kind": "vpp", "members": ["storage"], "services": [{"kind": "peak-shaving", "limit_kw": 2500}]},
    },
}
"""Two storages in the place of a model's give all that they can: the peak is far above the limit."""


@dataclass
class Site:
    """Where devices are, where a run's state is kept, and in which network namespace the devices are."""

    folder: Path
    ports: tuple[int, ...]
    host: str = "127.0.0.1"
    namespace: str = ""

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.folder / "state", (self.folder / "state" / "locks",))

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
        return {**os.environ, "PYTHONPATH": paths, "DERLOOP_STATE": str(self.folder / "state")}

    def within(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    @contextmanager
    def devices(self) -> Iterator[subprocess.Popen[str]]:
        """Serve the devices, as they come from the factory."""
        command = [
            *self.within(),
            sys.executable,
            str(SUPPORT / "standing_devices.py"),
            self.host,
            *map(str, self.ports),
        ]
        with self._started(command, "ready") as process:
            yield process

    @contextmanager
    def driver(self, restore_s: float = 1.0) -> Iterator[subprocess.Popen[str]]:
        """Command the devices; yields while nothing has been done yet. restore_s: how long to try to restore them."""
        places = [f"{port}@{self.host}" for port in self.ports]
        script, times = str(SUPPORT / "bench_driver.py"), (str(LEASE_S), str(restore_s))
        with self._started([sys.executable, script, str(self.folder), *times, *places]) as process:
            yield process

    @contextmanager
    def run(self, out: Path) -> Iterator[subprocess.Popen[str]]:
        """Command the devices by `derloop run`, in which two batteries shave a peak; yields at once."""
        self._write_bench()
        armed = [word for name in self.names for word in ("--arm", name)]
        options = ["--bench", "bench.json", *armed, "--out", str(out), "--engine", "local", "--no-report", "--quiet"]
        with self._started([sys.executable, "-m", "derloop.cli", "run", "scenario.json", *options]) as process:
            yield process

    @contextmanager
    def spread(self, *options: str) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
        """As `run`, with the batteries on a host `lab` whose bench file has the devices; yields the run and the host.

        That of the run's own machine has other devices of these names, which are nowhere.
        """
        self._write_bench()
        bench = json.loads((self.folder / "bench.json").read_text())
        for port, device in enumerate(bench["devices"].values(), 1):
            device["endpoint"] = {"transport": "tcp", "host": "127.0.0.1", "port": port}
        (self.folder / "elsewhere.json").write_text(json.dumps(bench))
        hosts_file(self.folder, {"lab": ["storage"]}, (port := free_ports(1)[0]))
        armed = [word for name in self.names for word in ("--arm", name)]
        derloop = [sys.executable, "-m", "derloop.cli"]
        join = ["join", f"127.0.0.1:{port}", "--name", "lab", "--token-file", "run.token", "--bench", "bench.json"]
        run = ["run", "scenario.json", "--hosts", "hosts.json", "--bench", "elsewhere.json", "--out", "out"]
        with (
            self._started([*derloop, *run, "--no-report", "--quiet", *options]) as started,
            self._started([*derloop, *join, *armed]) as joined,
        ):
            yield started, joined

    @property
    def names(self) -> list[str]:
        return [f"inv-{port}" for port in self.ports]

    def _write_bench(self) -> None:
        """Write the bench file and the scenario, with the feeder that it names."""
        for name in ("feeders/ieee13", "profiles"):
            shutil.copytree(SCENARIOS / name, self.folder / name, dirs_exist_ok=True)
        safety = {"lease": {"kind": "reversion", "seconds": LEASE_S}, "restore_s": PATIENCE_S}
        devices = {
            name: {
                "endpoint": {"transport": "tcp", "host": self.host, "port": port},
                "timing": {"deadline_s": 10.0},
                "safety": safety,
            }
            for name, port in zip(self.names, self.ports, strict=True)
        }
        (self.folder / "bench.json").write_text(json.dumps({"name": "kills", "devices": devices}))
        (self.folder / "scenario.json").write_text(json.dumps(SHAVING))

    @contextmanager
    def _started(self, command: Sequence[str], until: str = "") -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                if until:
                    wait_for(process, until)
                yield process
            finally:
                process.kill()

    @contextmanager
    def seen(self) -> Iterator[Seen]:
        """Look at the devices past every guard."""
        thread = LoopThread("engineer")
        try:
            yield Seen(self, thread)
        finally:
            thread.close()


class Seen:
    """What an engineer sees who looks at the devices himself."""

    def __init__(self, site: Site, thread: LoopThread) -> None:
        self._site, self._thread = site, thread

    def values(self) -> list[dict[str, object]]:
        """Return what each device holds at every point that commands write."""
        return [self._with(port, self._values) for port in self._site.ports]

    def leave_safe(self) -> list[str]:
        """Do for each device what `derloop bench safe` does."""
        return [self._with(port, self._leave_safe) for port in self._site.ports]

    async def _values(self, device: Device) -> dict[str, object]:
        return dict(await device.read([name for name in device.controls if not name.endswith("AdptCrvReq")]))

    async def _leave_safe(self, device: Device) -> str:
        run = Run(self._site.folder, self._site.folder / "bench.json")
        return await Keeper(device, SafetyRules(restore_s=60.0), [], self._site.state, run).leave_safe()

    def _with(self, port: int, work: Callable[[Device], Coroutine[Any, Any, T]]) -> T:
        async def done() -> T:
            address = Address(Tcp(host=self._site.host, port=port))
            device = Device(Link(f"inv-{port}", address, Timing(deadline_s=10.0)))
            try:
                await device.discover()
                return await work(device)
            finally:
                await device.link.close()

        return self._thread.run(done())

    @property
    def records(self) -> list[Record]:
        """Return what runs have left; fails for a record that cannot be read."""
        found, bad = Records(self._site.state.records).read()
        assert bad == []
        return found


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Return when a process has said so."""
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith(word), line + process.stdout.read()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the status of a process that ends by itself, and all that it said."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def kill(process: subprocess.Popen[str]) -> float:
    """Kill a process; return when it was gone, on the monotonic clock."""
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    return time.monotonic()
