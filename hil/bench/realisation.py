"""`"via": "bench:NAME"`: equipment in the place of a fleet's model.

NAME is a device of the bench file that `--bench` gives, or a pattern of as many as the fleet has: "bench:inv-*".
What is said before anything is touched is here; what happens on the wire is in `hil.bench.fleet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derloop.contract import Federate
from derloop.errors import DerloopError, ScenarioError
from derloop.kind import Context, EquipmentMissing, PlaceError, Settings, Terminal, names_no_file
from hil.emulator.functions import FUNCTIONS
from hil.fleet.model import GIVEN, HasInverters, InverterModel

if TYPE_CHECKING:
    from hil.bench.file import Bench
    from hil.bench.fleet import BenchFleet

RATED_DIFFERS = 0.01
"""How far a rating in a bench file may be from the scenario's, as a fraction."""
LEASE_STEPS = 2
"""A lease outlives so many steps at least: it is renewed within a step, and one may be late."""


@names_no_file
def bench(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> BenchFleet:
    """Put equipment in the place of `model`.

    Raises EquipmentMissing where the bench is not given or has not what the scenario names, PlaceError where what it
    has does not fit the scenario.
    """
    from hil.bench.fleet import BenchFleet

    del settings
    if not argument:
        raise _wrong("'bench' needs the name of a device: bench:NAME")
    if not isinstance(model, HasInverters):
        raise _wrong("this kind has no functions that equipment could take over")
    read = _read(context.permissions.bench, argument)
    names = _devices(read, argument, terminals)
    problems = [*_arming(read, context.permissions.armed), *_misfits(read, names, terminals, context)]
    if problems := [*problems, *_unpowered(read, names), *_left_out(model)]:
        raise PlaceError([(("via",), problem) for problem in problems])
    return BenchFleet(model, read, names, terminals, context)


def _wrong(what: str) -> PlaceError:
    return PlaceError([(("via",), what)])


def _read(path: Path | None, argument: str) -> Bench:
    from hil.bench.file import read_bench

    if path is None:
        raise EquipmentMissing([(("via",), f"{argument!r} is equipment of a bench, and none is given: --bench FILE")])
    try:
        return read_bench(path)
    except ScenarioError as wrong:
        raise PlaceError([(("via",), f"bench file {path}: {problem}") for problem in wrong.problems]) from wrong


def _devices(bench: Bench, argument: str, terminals: Sequence[Terminal]) -> tuple[str, ...]:
    """Return the devices that stand for the terminals, in their order."""
    try:
        names = bench.chosen([argument])
    except DerloopError as missing:
        raise EquipmentMissing([(("via",), str(missing))]) from missing
    if len(names) < len(terminals):
        raise EquipmentMissing([(("via",), _counted(argument, names, terminals))])
    if len(names) > len(terminals):
        raise _wrong(_counted(argument, names, terminals))
    return names


def _counted(argument: str, names: Sequence[str], terminals: Sequence[Terminal]) -> str:
    return f"{argument!r} is {', '.join(names)}: {len(names)}, and there are {len(terminals)} devices in the scenario"


def _arming(bench: Bench, armed: Sequence[str]) -> list[str]:
    from hil.bench.file import arming_problems

    return arming_problems(bench, armed)


def _misfits(bench: Bench, names: Sequence[str], terminals: Sequence[Terminal], context: Context) -> list[str]:
    """Return how devices differ from what the scenario has in their places, as far as the bench file tells."""
    problems = []
    for name, terminal in zip(names, terminals, strict=True):
        entry = bench.device(name)
        stands_for_kva = (entry.rated_kva or 0.0) * (entry.power.scale if entry.power else 1.0)
        if entry.rated_kva is not None and not _is_close(stands_for_kva, terminal.rated_kva):
            what = f"{name!r} stands for {stands_for_kva:g} kVA, and {terminal.label!r} is rated {terminal.rated_kva:g}"
            problems.append(what)
        lease, least_s = entry.safety.lease, LEASE_STEPS * context.step_ns / 1e9
        if lease.kind != "none" and lease.seconds < least_s:
            what = f"the lease of {name!r}, {lease.seconds} s, does not outlast {LEASE_STEPS} steps, {least_s:g} s"
            problems.append(what)
    return problems


def _unpowered(bench: Bench, names: Sequence[str]) -> list[str]:
    """Return that only some devices stand in power hardware: those of a fleet are all energised, or none is."""
    without = [name for name in names if bench.device(name).power is None]
    if not 0 < len(without) < len(names):
        return []
    powered = next(name for name in names if name not in without)
    what = f"{powered!r} stands in power hardware ('power') and {without[0]!r} does not"
    return [f"{what}: give them fleets of their own"]


def _left_out(model: InverterModel) -> list[str]:
    """Return that the scenario asks for functions which equipment is not given: they would be missing unsaid."""
    given = [each for each in GIVEN if each != "active_power_limit" or "p_limit_kw" not in model.interface.inputs]
    asked = [each.name for each in FUNCTIONS if model.inverters.has(each.name) and each.name not in given]
    if not asked:
        return []
    what = f"the scenario sets {', '.join(asked)} ('smart'); equipment is given {', '.join(['volt_var', *given])}"
    return [f"{what}: set the others at the device, and leave them out here"]


def _is_close(one: float, other: float) -> bool:
    return abs(one - other) <= RATED_DIFFERS * other
