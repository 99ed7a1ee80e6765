"""What is in a feeder: its buses, loads, lines and controls, and where it is fed, in OpenDSS's own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.kind import Bus, Connection, FeederLoad
from federates.grid.conductors import PHASES
from federates.grid.earthing import unearthed
from federates.grid.solver import Solver

UNTOLD = ("invcontrol", "expcontrol", "indmach012")
"""What inverters were told last, and the slip of machines; the taps of autotransformers go to text and lose digits."""
OPENING = ("fuse", "relay", "recloser")
"""What they have counted, and what they have opened."""
SWITCHING = ("fuse.", "relay.", "recloser.", "swtcontrol.")
"""Elements that may take others out of service by themselves."""

DRAWING = ("load.", "pvsystem.", "storage.", "generator.")
"""Elements that draw or give, as a shape over time may say."""
SHAPES = ("daily", "yearly", "duty")
IDLING = "idling"
FAR = 1.1
"""How far what windings are rated for may be from the base of their bus: 433 V on 400 V is no mistake."""
BY_TIME = 3
"""OpenDSS `CapControlModes_Time`."""


def are_phases(nodes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which nodes (n,), "671.2", are phases: a neutral has next to no voltage, and that is as it is to be."""
    return np.array([int(node.rpartition(".")[2]) <= PHASES for node in nodes], np.bool_)


def buses(solver: Solver) -> dict[str, Bus]:
    """Return every bus by its lower-case name."""
    found, neutrals, without_earth = {}, _neutrals(solver), unearthed(solver.dss)
    for name in solver.dss.Circuit.AllBusNames():
        solver.dss.Circuit.SetActiveBus(name)
        phases = tuple(sorted(n for n in solver.dss.Bus.Nodes() if 1 <= n <= 3))
        bus, kv_ln = name.lower(), solver.dss.Bus.kVBase()
        found[bus] = Bus(bus, phases, kv_ln, _drawn_at(solver), neutrals.get(bus), bus not in without_earth)
    return found


def _neutrals(solver: Solver) -> dict[str, int]:
    """Return the node of the neutral of each bus that has one: the only one beyond its phases at which a line ends.

    A star point at which no line ends is none, nor are the phases of a second circuit.
    """
    beyond: dict[str, set[int]] = {}
    element, elements = solver.dss.CktElement, solver.dss.Lines
    for _ in range(elements.First() and elements.Count()):
        for end in element.BusNames():
            bus, *nodes = end.lower().split(".")
            numbers = [int(n) for n in nodes] or range(1, element.NumPhases() + 1)
            beyond.setdefault(bus, set()).update(n for n in numbers if n > PHASES)
        if not elements.Next():
            break
    return {bus: min(nodes) for bus, nodes in beyond.items() if len(nodes) == 1}


def _drawn_at(solver: Solver) -> tuple[float, float] | None:
    """Return the coordinates of the active bus."""
    return (solver.dss.Bus.X(), solver.dss.Bus.Y()) if solver.dss.Bus.Coorddefined() else None


def loads(solver: Solver) -> dict[str, FeederLoad]:
    """Return every load of the feeder file by its lower-case name."""
    found, elements = {}, solver.dss.Loads
    for _ in range(elements.First() and elements.Count()):
        name = elements.Name().lower()
        bus, *nodes = solver.dss.CktElement.BusNames()[0].lower().split(".")
        named = [int(n) for n in nodes if int(n)] or [1, 2, 3][: solver.dss.CktElement.NumPhases()]
        phases = tuple(n for n in named if n <= PHASES) or tuple(named)  # a second circuit's are all beyond
        connection: Connection = "delta" if elements.IsDelta() else "wye"
        found[name] = FeederLoad(name, bus, phases, connection, elements.kW(), elements.kvar())
        elements.Next()
    return found


class LoadLegs(NamedTuple):
    """Between which nodes of its bus a load of the feeder file stands; 0 is ground."""

    bus: str
    legs: tuple[tuple[int, int], ...]
    is_between: bool
    """Whether the voltage that it has is one between phases."""


def legs(solver: Solver) -> dict[str, LoadLegs]:
    """Return the legs of every load of the feeder file, which is solved, by its lower-case name."""
    found, elements, element = {}, solver.dss.Loads, solver.dss.CktElement
    for _ in range(elements.First() and elements.Count()):
        bus, count, nodes = element.BusNames()[0].lower().partition(".")[0], element.NumPhases(), element.NodeOrder()
        backs = [*nodes[1:], nodes[0]] if elements.IsDelta() else [nodes[-1]] * count
        between = tuple((int(node), int(back)) for node, back in zip(nodes[:count], backs, strict=False))
        is_between = elements.IsDelta() or 0 < between[0][1] <= PHASES
        found[elements.Name().lower()] = LoadLegs(bus, between, bool(is_between))
        elements.Next()
    return found


def lines(solver: Solver) -> tuple[str, ...]:
    """Return the lower-case names of all lines, switches among them."""
    return tuple(name.lower() for name in solver.dss.Lines.AllNames()) if solver.dss.Lines.Count() else ()


def branches(solver: Solver) -> dict[str, tuple[str, ...]]:
    """Return the buses that each line, transformer ... connects, by its lower-case full name: one for each terminal.

    What is not enabled, as an open switch, connects nothing and is left out.
    """
    found, elements = {}, solver.dss.PDElements
    for _ in range(elements.First() and elements.Count()):
        ends = (name.split(".")[0].lower() for name in solver.dss.CktElement.BusNames())
        found[elements.Name().lower()] = tuple(ends)
        if not elements.Next():
            break
    return found


def conducting(solver: Solver) -> dict[str, tuple[str, ...]]:
    """Return those of `branches` that are not open at one of their ends."""
    return {name: ends for name, ends in branches(solver).items() if not _is_apart(solver, name)}


def _is_apart(solver: Solver, element: str) -> bool:
    """Return whether all phases of an element are open at one of its terminals."""
    solver.dss.Circuit.SetActiveElement(element)
    found, phases = solver.dss.CktElement, range(1, solver.dss.CktElement.NumPhases() + 1)
    return any(
        all(found.IsOpen(terminal, phase) for phase in phases) for terminal in range(1, found.NumTerminals() + 1)
    )


def off_base(solver: Solver) -> dict[str, tuple[float, float]]:
    """Return the buses whose voltages are told per unit of another one than that of the windings there.

    By bus, both to ground in kV: what a winding is rated for, and the base that the file has for its bus. OpenDSS takes
    the nearest of `VoltageBases`, however far that is: half of a centre-tapped 240 V is 0.866 pu of 0.24.
    """
    found, transformers, element = {}, solver.dss.Transformers, solver.dss.CktElement
    for _ in range(transformers.First() and transformers.Count()):
        ends, single = [*element.BusNames()], element.NumPhases() == 1
        for number, end in enumerate(ends, start=1):
            transformers.Wdg(number)
            bus, *nodes = end.lower().split(".")
            is_to_ground = single and sum(1 <= int(node) <= PHASES for node in nodes) < 2
            rated_kv = transformers.kV() if is_to_ground else transformers.kV() / 3**0.5
            solver.dss.Circuit.SetActiveBus(bus)
            base_kv = solver.dss.Bus.kVBase()
            if base_kv and not 1 / FAR < rated_kv / base_kv < FAR:
                found[bus] = (float(rated_kv), float(base_kv))
        if not transformers.Next():
            break
    return found


def head_bus(solver: Solver) -> str:
    """Return the lower-case name of the bus where the feeder is fed."""
    solver.dss.Circuit.SetActiveElement("Vsource.source")
    return str(solver.dss.CktElement.BusNames()[0]).split(".")[0].lower()


def head_buses(solver: Solver) -> list[str]:
    """Return the lower-case names of the buses where voltage sources of the feeder file stand."""
    found = []
    for name in solver.dss.Vsources.AllNames():
        solver.dss.Circuit.SetActiveElement(f"Vsource.{name}")
        if solver.dss.CktElement.Enabled():
            found.append(str(solver.dss.CktElement.BusNames()[0]).split(".")[0].lower())
    return found


def fed_nodes(solver: Solver) -> NDArray[np.intp]:
    """Return the numbers of the nodes that the voltage sources in service feed, of a solver in its first order."""
    sources = solver.elements.primitives(solver.elements.sources.tolist())
    nodes = np.unique(np.concatenate([source.nodes[: source.nodes.size // 2] for source in sources]))
    found: NDArray[np.intp] = nodes[nodes > 0] - 1
    return found


def is_fed_by_head_alone(solver: Solver) -> bool:
    """Return whether the source that comes with the circuit feeds it, and no other one."""
    sources = [name.lower() for name in solver.dss.Vsources.AllNames()]
    return [name for name in sources if _is_enabled(solver, f"Vsource.{name}")] == ["source"]


def head_source(solver: Solver) -> tuple[float, float]:
    """Return magnitude, pu, and angle, degrees, of the feeder's head as the file has it."""
    solver.dss.Vsources.Name("source")
    return float(solver.dss.Vsources.PU()), float(solver.dss.Vsources.AngleDeg())


def head_emf_pu(solver: Solver) -> complex:
    """Return the voltage behind the impedance of the feeder's head, pu."""
    v_pu, angle_deg = head_source(solver)
    return complex(v_pu * np.exp(1j * np.radians(angle_deg)))


def base_hz(solver: Solver) -> float:
    """Return the frequency at which the feeder is solved, Hz."""
    return float(solver.dss.Solution.Frequency())


def regulators(solver: Solver) -> tuple[str, ...]:
    """Return the names of the tap-changer controls."""
    return tuple(solver.dss.RegControls.AllNames()) if solver.dss.RegControls.Count() else ()


def acted_on(solver: Solver) -> set[str]:
    """Return the lower-case full names of what the feeder's own controls move: transformers and capacitors."""
    transformers = _named(solver.dss.RegControls, "Transformer")
    return (
        {f"transformer.{name}" for name in transformers}
        | {f"autotrans.{name}" for name in transformers}
        | {f"capacitor.{name}" for name in _named(solver.dss.CapControls, "Capacitor")}
    )


def _named(controls: Any, what: str) -> set[str]:
    found = set()
    for _ in range(controls.First() and controls.Count()):
        found.add(str(getattr(controls, what)()).lower())
        controls.Next()
    return found


def untold(solver: Solver, controls_act: bool) -> tuple[str, ...]:
    """Return the lower-case full names of what OpenDSS keeps state of that it tells nobody, and takes from nobody."""
    classes = (*UNTOLD, *OPENING) if controls_act else UNTOLD
    regulated = {f"autotrans.{name}" for name in _named(solver.dss.RegControls, "Transformer")}
    found = (name for name in solver.elements.names if name.partition(".")[0] in classes or name in regulated)
    return tuple(name for name in found if _is_enabled(solver, name))


def opening(solver: Solver) -> dict[str, str]:
    """Return what the fuses, relays and reclosers of the file open, by their own names: all full and lower-case."""
    found = {}
    for kind, devices in zip(OPENING, (solver.dss.Fuses, solver.dss.Relays, solver.dss.Reclosers), strict=True):
        for _ in range(devices.First() and devices.Count()):
            found[f"{kind}.{devices.Name()}".lower()] = str(devices.SwitchedObj()).lower()
            if not devices.Next():
                break
    return found


def _is_enabled(solver: Solver, element: str) -> bool:
    solver.dss.Circuit.SetActiveElement(element)
    return bool(solver.dss.CktElement.Enabled())


def shaped(solver: Solver) -> tuple[str, ...]:
    """Return the lower-case full names of what draws or gives by a shape over time, which nothing here follows."""
    if solver.dss.LoadShape.Count() <= 1:  # OpenDSS's own
        return ()
    found = (name for name in solver.elements.names if name.startswith(DRAWING) and _is_enabled(solver, name))
    return tuple(name for name in found if any(properties(solver, name, SHAPES)))


def storing(solver: Solver) -> tuple[str, ...]:
    """Return the lower-case full names of storages that charge or discharge: nothing here counts their energy."""
    found = (name for name in solver.elements.names if name.startswith("storage.") and _is_enabled(solver, name))
    return tuple(name for name in found if properties(solver, name, ("state",))[0].lower() != IDLING)


def timed(solver: Solver) -> dict[str, str]:
    """Return the bank of each control that switches by the time of day, both by their lower-case names."""
    found, controls = {}, solver.dss.CapControls
    for _ in range(controls.First() and controls.Count()):
        if controls.Mode() == BY_TIME:
            found[f"capcontrol.{controls.Name()}".lower()] = str(controls.Capacitor()).lower()
        if not controls.Next():
            break
    return found


def properties(solver: Solver, element: str, names: Sequence[str]) -> list[str]:
    """Return what an element of the file has for properties."""
    solver.dss.Circuit.SetActiveElement(element)
    every = [name.lower() for name in solver.dss.Element.AllPropertyNames()]
    return [str(solver.dss.Properties.Value(str(every.index(name) + 1))) for name in names]


def is_closed(solver: Solver, line: str) -> bool:
    """Return whether a line conducts: it is enabled, and no phase of it is open."""
    element = solver.dss.CktElement
    solver.dss.Circuit.SetActiveElement(f"Line.{line}")
    return bool(element.Enabled() and not element.IsOpen(1, 0) and not element.IsOpen(2, 0))


def delivering(solver: Solver) -> tuple[str, ...]:
    """Return the lower-case full names of lines, transformers ..., in the order of `most_currents_a`."""
    return tuple(name.lower() for name in solver.dss.PDElements.AllNames())


def rating_a(solver: Solver, element: str) -> float:
    """Return what a line may carry (normamps), or the rated current of a transformer's first winding, A."""
    solver.dss.Circuit.SetActiveElement(element)
    if not element.startswith("transformer."):
        return float(solver.dss.CktElement.NormalAmps())
    transformers = solver.dss.Transformers
    transformers.Name(element.partition(".")[2])
    transformers.Wdg(1)
    kva, kv, phases = transformers.kVA(), transformers.kV(), solver.dss.CktElement.NumPhases()
    return float(kva / kv if phases == 1 else kva * 3**0.5 / (phases * kv))  # kv is between phases where there are more
