"""A run done again against its own journal of frames, and where it parts from itself.

Fleets that were emulated in lock-step answer again in lock-step (`"via": "replay:RUN"`). Equipment of a bench lives in
wall-clock time, and so do its leases and proofs: its run takes as long as it took, with the bench file's devices in the
places of which the recorded ones answer, each as soon as it did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from derloop.errors import DerloopError
from derloop.options import Options, Progress
from derloop.result import Result
from derloop.results.compare import SignalComparison, compare
from derloop.results.store import RunFolder
from derloop.running import run
from hil.frames.evidence import Evidence
from hil.frames.exchanges import exchanges
from hil.frames.journal import FOLDER, SUFFIX
from hil.frames.replay import Divergence, ReplayResponder, responders
from hil.frames.replayed import divergences_path, read_divergences
from hil.modbus.endpoint import Endpoint, Tcp
from hil.serving.recorded import AsRecorded
from hil.serving.server import Line, Server

OF_THE_CLOCK = ("*.age_s", "*.modbus_s")
"""Signals that are of the wall's clock, and no run's like another's."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A run that was done again."""

    result: Result
    divergences: tuple[Divergence, ...]
    """Where what was asked of a device parts from what was recorded."""
    parted: tuple[SignalComparison, ...]
    """Signals that are not equal to the bit."""
    compared: int
    """How many signals were compared."""

    @property
    def same(self) -> bool:
        """Whether it completed and nothing parts."""
        return self.result.outcome == "completed" and self.compared > 0 and not self.divergences and not self.parted


def replay_run(
    recorded: Path,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    show: Progress | None = None,
    *,
    trust_feeder: bool = False,
    trust_control: bool = False,
) -> Replayed:
    """Do the run in the folder `recorded` again, with what it overrode and `overrides`, against its journals.

    What it was trusted with is granted anew, and not by its folder, which may be somebody else's.
    Raises DerloopError where it left no frames, or does not say what was run.
    """
    facts = RunFolder(recorded).run
    vias = _vias(recorded, facts)
    lockstep = [name for name, via in vias.items() if not via.startswith("bench")]
    on_bench = [name for name, via in vias.items() if via.startswith("bench")]
    replaced = [f"federates.{name}.via=replay:{recorded.resolve()}" for name in lockstep]
    every = [*facts.get("overrides", ()), *overrides, *replaced]
    with _standing(recorded, on_bench, facts) as (bench, places, devices):
        armed = tuple(name for name in facts.get("armed", ()) if name in places)
        options = Options(
            out=out, trust_feeder=trust_feeder, trust_control=trust_control, bench=bench, arm=armed, report=False
        )
        result = run(_scenario(facts), every, options, show)
    found = [each for name in lockstep for each in read_divergences(divergences_path(result.folder.path, name))]
    for device in devices:
        device.end()
        found += device.divergences
    compared = compare(RunFolder(recorded), result.folder, common=True).signals
    own = [each for each in compared if not any(fnmatchcase(each.signal.name, p) for p in OF_THE_CLOCK)]
    return Replayed(result, tuple(found), tuple(each for each in own if not each.same), len(own))


def _vias(recorded: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return how the federates that left frames were realised."""
    kept = [path.name.removesuffix(SUFFIX) for path in sorted((recorded / FOLDER).glob(f"*{SUFFIX}"))]
    federates = facts.get("federates", {})
    if not kept:
        raise DerloopError(f"{recorded} has no frames: a run leaves them in {FOLDER}/ when it speaks to equipment")
    if strange := [name for name in kept if name not in federates]:
        raise DerloopError(f"{recorded} has frames of {', '.join(strange)}, which its run.json does not know")
    return {name: str(federates[name].get("via", "")) for name in kept}


def _scenario(facts: Mapping[str, Any]) -> Path:
    path = Path(str(facts.get("scenario_path", "")))
    if not path.is_file():
        raise DerloopError(f"the scenario of the run, {path}, is not there any more")
    return path


@contextmanager
def _standing(
    recorded: Path, federates: Sequence[str], facts: Mapping[str, Any]
) -> Iterator[tuple[Path | None, Collection[str], list[ReplayResponder]]]:
    """Serve the recorded devices of a bench, and yield the bench file that says where, their names, and themselves."""
    if not federates:
        yield None, (), []
        return
    found: dict[str, ReplayResponder] = {}
    for name in federates:
        found |= responders(exchanges(Evidence(recorded / FOLDER / f"{name}{SUFFIX}").entries()))
    lines = [Line(Tcp(port=0), device, partial(AsRecorded, source=device)) for device in found.values()]
    with TemporaryDirectory(prefix="derloop-replay-") as folder, Server(lines) as server, _state_in(Path(folder)):
        bench = Path(folder) / "replayed.json"
        places = dict(zip(found, server.endpoints, strict=True))
        bench.write_text(json.dumps(_moved(Path(str(facts.get("bench"))), places)), encoding="utf-8")
        yield bench, places, list(found.values())


def _moved(bench: Path, places: Mapping[str, Endpoint]) -> dict[str, Any]:
    """Return a bench file with those of its devices that are replayed, where they are; no equipment is in it.

    Raises DerloopError for devices in power hardware: nobody stands in for their sources and meters.
    """
    try:
        file: dict[str, Any] = json.loads(bench.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DerloopError(f"the bench file of the run, {bench}, cannot be read: {error}") from error
    file["devices"] = {name: entry for name, entry in file.get("devices", {}).items() if name in places}
    if powered := [name for name, entry in file["devices"].items() if "power" in entry]:
        what = "in power hardware, whose sources and meters cannot be replayed"
        raise DerloopError(f"{bench}: {', '.join(powered)} stood {what}: such a session can be listed and exported")
    file.pop("instruments", None)
    for name, entry in file["devices"].items():
        entry["endpoint"] = places[name].model_dump(mode="json")
        if entry.get("speaks", "sunspec") != "sunspec":
            entry["speaks"] = str(bench.parent / entry["speaks"])
    return file


@contextmanager
def _state_in(folder: Path) -> Iterator[None]:
    """Keep locks and counts of writes elsewhere: a replay writes to no device, and wears none."""
    before = os.environ.get("DERLOOP_STATE")
    os.environ["DERLOOP_STATE"] = str(folder / "state")
    try:
        yield
    finally:
        if before is None:
            del os.environ["DERLOOP_STATE"]
        else:
            os.environ["DERLOOP_STATE"] = before
