"""The circuit of a feeder file as it is read: its base voltages, what its loads draw, how its capacitor banks stand.

What a file may set for all of a circuit, and a device or a load would not be what it says it is with, is refused, or
taken into the powers once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from federates.grid.engine import SolverError, command

USUAL_BASES_KV = (0.208, 0.48, 12.47, 24.9, 34.5, 115.0, 230.0)
"""OpenDSS's own list, where a file sets none."""

POWER_FLOW, EVERY_PHASE = 1, 0
"""OpenDSS `LoadModel`, in which loads and devices are powers, and `CktModel`, of phases and not of sequences."""

VARIABLE = 0
"""OpenDSS `LoadStatus_Variable`: a load that the multiplier of all loads is for."""

SNAPSHOT = 0
"""OpenDSS `SolveModes_SnapShot`."""

OPEN = 1
"""OpenDSS `ActionCodes_Open`, what a SwtControl does."""

KEEPS_KVAR = (6, 7)
"""Models of loads whose reactive power no multiplier is for."""


def read(dss: Any, feeder: Path) -> None:
    """Have an engine read a feeder file, and nothing else. Raises SolverError for what cannot be used as it stands."""
    command(dss, "Clear")
    command(dss, f'Redirect "{feeder}"')
    if not dss.Basic.NumCircuits():
        raise SolverError(f"{feeder.name} defines no circuit")
    _refuse_others(dss, feeder)
    _multiply_loads(dss)
    if not find_bases(dss):
        raise SolverError(f"{feeder.name} sets no VoltageBases, of which voltages are told per unit")
    _switch(dss)


def _refuse_others(dss: Any, feeder: Path) -> None:
    """Raise SolverError for a circuit in which a device would not inject what it is given."""
    sets = {
        "LoadModel=admittance": dss.Solution.LoadModel() != POWER_FLOW,
        "CktModel=positive": dss.Settings.CktModel() != EVERY_PHASE,
    }
    if asked := [name for name, is_so in sets.items() if is_so]:
        what = "devices would not inject what they are given"
        raise SolverError(f"{feeder.name} sets {' and '.join(asked)}, with which {what}: leave it out")


def _multiply_loads(dss: Any) -> None:
    """Let loads have the powers that the file's multiplier and growth make of them, and have these do no more.

    Whoever drives a load sets what it draws, and tells that it does: a multiplier beside it would be told nowhere.
    """
    solution, loads = dss.Solution, dss.Loads
    year, mult = solution.Year(), solution.LoadMult()
    growth = (1.0 + solution.PctGrowth() / 100.0) ** (year - 1) if year > 0 else 1.0
    if (mult, year) == (1.0, 0):
        return
    for _ in range(loads.First() and loads.Count()):
        if year > 0 and loads.Growth():
            raise SolverError(f"load {loads.Name()} grows by a shape of its own, which is not read: set no year")
        factor = growth * (mult if loads.Status() == VARIABLE else 1.0)
        kw, kvar = loads.kW() * factor, loads.kvar() * (1.0 if loads.Model() in KEEPS_KVAR else factor)
        loads.kW(kw)
        loads.kvar(kvar)
        if not loads.Next():
            break
    solution.LoadMult(1.0)
    solution.Year(0)


def _switch(dss: Any) -> None:
    """Have switches stand as their SwtControls say, where the file does not lock these, and as the file leaves them.

    OpenDSS does that in the first solution in which controls act, and moves them to their normal positions whenever a
    mode is set. Here it is done once, and these controls are out of service then.
    """
    controls = dss.SwtControls
    for name in controls.AllNames() if controls.Count() else ():
        controls.Name(name)
        dss.Circuit.SetActiveElement(f"SwtControl.{name}")
        if not dss.CktElement.Enabled():
            continue
        if controls.State() != controls.Action() and not controls.IsLocked():
            command(dss, f'Edit "SwtControl.{name}" state={"open" if controls.Action() == OPEN else "close"}')
        command(dss, f'Disable "SwtControl.{name}"')


def take_snapshots(dss: Any) -> None:
    """Have each solution be one of an instant, with all switches and banks where they are.

    When a mode is set, OpenDSS resets all controls, and what these operate goes back to where it began.
    """
    if dss.Solution.Mode() == SNAPSHOT:
        return
    stood = _open_at(dss)
    command(dss, "Set mode=snap")
    for name, terminal, phase in stood ^ _open_at(dss):
        command(dss, f'{"Open" if (name, terminal, phase) in stood else "Close"} "{name}" {terminal} {phase}')


def _open_at(dss: Any) -> set[tuple[str, int, int]]:
    """Return where lines, banks ... are open: full name, terminal and phase, counted from 1."""
    found, elements, element = set(), dss.PDElements, dss.CktElement
    for _ in range(elements.First() and elements.Count()):
        if any(element.IsOpen(terminal, 0) for terminal in range(1, element.NumTerminals() + 1)):
            ends = product(range(1, element.NumTerminals() + 1), range(1, element.NumPhases() + 1))
            found |= {(elements.Name(), terminal, phase) for terminal, phase in ends if element.IsOpen(terminal, phase)}
        if not elements.Next():
            break
    return found


def find_bases(dss: Any) -> bool:
    """List the buses, and give those a base voltage that the file gives none: SetkVBase holds where it stands.

    Returns whether the file sets any.
    """
    command(dss, "MakeBusList")
    are_set = any(_bases_kv(dss).values()) or tuple(dss.Settings.VoltageBases()) != USUAL_BASES_KV
    set_bases(dss, bases_by_hand_kv(dss))
    return are_set


def bases_by_hand_kv(dss: Any) -> dict[str, float]:
    """Return the base voltages, kV line to neutral, that are others than OpenDSS finds as the circuit is switched.

    Those that it finds are set then: of a bus that nothing feeds it is one of the list, whatever belongs there.
    """
    had_kv = _bases_kv(dss)
    command(dss, "CalcVoltageBases")
    found_kv = _bases_kv(dss)
    return {name: kv for name, kv in had_kv.items() if kv and kv != found_kv[name]}


def set_bases(dss: Any, bases_kv: Mapping[str, float]) -> None:
    """Set the base voltages, kV line to neutral, of these buses."""
    for name, kv in bases_kv.items():
        command(dss, f'SetkVBase bus="{name}" kVLN={kv!r}')


def _bases_kv(dss: Any) -> dict[str, float]:
    """Return the base voltage of every bus, kV line to neutral; 0 where it has none."""
    found = {}
    for name in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(name)
        found[name] = float(dss.Bus.kVBase())
    return found


def bank(dss: Any) -> list[int]:
    """Return which steps of the active capacitor bank are in, and last whether its terminal is open.

    A control opens the terminal when it takes the last step out: with that open no step is in, whatever is set.
    """
    return [*dss.Capacitors.States(), int(dss.CktElement.IsOpen(1, 0))]


def set_bank(dss: Any, stands: Sequence[int]) -> None:
    """Have the active capacitor bank stand as `bank` says."""
    *steps, is_open = stands
    if dss.CktElement.IsOpen(1, 0) != bool(is_open):
        (dss.CktElement.Open if is_open else dss.CktElement.Close)(1, 0)
    dss.Capacitors.States(steps)
