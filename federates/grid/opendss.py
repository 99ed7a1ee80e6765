"""The feeder as a federate: what devices give goes in, is solved, and what they see comes out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Balance, Bundle, FloatArray, Interface, Jacobian, Port, Values
from derloop.kind import Context, FeederLoad, Kind, PlaceError, Terminal
from derloop.memory import remembers
from federates.grid import inventory
from federates.grid.accounts import Accounts
from federates.grid.cautions import Cautions
from federates.grid.engine import SolverError
from federates.grid.feeder import Feeder, check_terminals
from federates.grid.file_loads import FileLoads
from federates.grid.formers import Formers
from federates.grid.group import Group
from federates.grid.head import Head
from federates.grid.island import Island, Limits
from federates.grid.measured import Measured
from federates.grid.monitored import Monitored
from federates.grid.powers import Powers, powers, rounding_kw
from federates.grid.sensitivity import Devices, factored
from federates.grid.served import Served
from federates.grid.settings import OpenDssSettings
from federates.grid.solution import Solution
from federates.grid.solver import Solver
from federates.grid.switchgear import Switchgear
from federates.grid.switching import Arrangement
from federates.grid.warm_start import WarmStart

UNFED_PU = 1e-3
"""What has less voltage is not connected to a source: a line is open, or has fewer phases."""


@remembers("_kept", "_moved", "_now_ns")
class OpenDssFeeder:
    """The feeder as a federate."""

    def __init__(self, settings: OpenDssSettings, context: Context, feeder: Feeder, in_time: bool = True) -> None:
        """in_time: its steps follow each other; they are no trials of what might be."""
        self._name, self._settings, self._solver = context.name, settings, feeder.solver
        forming = {name: t for name, t in context.terminals.items() if t and t[0].forms}
        self._drives = [
            Group(name, t, feeder.buses) for name, t in context.terminals.items() if t and name not in forming
        ]
        self._solution = Solution(feeder.solver, self._drives)  # before the switchgear, to be recalled after it
        for group in self._drives:
            group.add(self._solver)
        formers = _formers(settings, forming, feeder, context)
        self._gear = _gear(settings, feeder)
        self._head = Head(self._solver) if feeder.can_be_fed else None
        self._solver.prepare(settings.regulators == "active", settings.tolerance, settings.max_iterations)
        self._measured = Measured(self._solver, feeder.buses)
        self._bases_v = self._measured.bases_v
        self._set_up(feeder, formers, context.seed)
        has_warm_start = in_time and not self._island
        self._warm_start = WarmStart(self._solver, settings.tolerance, self._bases_v) if has_warm_start else None
        self._set_told(feeder, formers)
        self._kept = self._moved = self._controls()
        self._told_taps = np.zeros(0)
        self._now_ns = -1
        step_ns = settings.step_ns(context)
        self._interface = Interface(step_ns, self._inputs(), self._outputs(), balances=tuple(self._balances()))
        self._told = Bundle(self._interface.outputs)
        self._v_pu = self._told["v_pu"]
        self._v_ground_pu = np.zeros(self._v_pu.size) if self._measured.not_to_ground.size else self._v_pu
        """To ground, also where phases are measured to others."""

    def _set_up(self, feeder: Feeder, formers: Formers | None, seed: int) -> None:
        """Find in the prepared solver who gives and draws there, and what operates it."""
        legs = inventory.legs(self._solver) if self._gear or formers else None
        self._undriven = _undriven(feeder, self._drives)
        for group in self._drives:
            group.attach(self._solver, legs)
        self._file_loads = FileLoads(legs or {}, self._undriven, self._solver)
        self._is_phase = inventory.are_phases(self._solver.nodes)
        self._island: Island | None = None
        if self._gear or formers:
            served: list[Served] = [*self._drives, self._file_loads]
            self._set_switching(Arrangement(self._solver, feeder.buses, served), feeder, formers, seed)
        if self._head:
            self._head.attach(self._solver)

    def _set_switching(self, arrangement: Arrangement, feeder: Feeder, formers: Formers | None, seed: int) -> None:
        if self._gear:
            self._gear.attach(arrangement)
        if formers:
            limits = self._limits(feeder)
            self._island = Island(self._settings.island, formers, self._solver, arrangement, limits, seed)

    def _set_told(self, feeder: Feeder, formers: Formers | None) -> None:
        """Find what is told of the feeder."""
        settings = self._settings
        self._regulators = inventory.regulators(self._solver)
        self._heads = _heads(self._solver, formers)
        self._monitored = (
            Monitored(settings.monitored, settings.ratings_a, self._solver) if settings.monitored else None
        )
        names = self._monitored.names if self._monitored else ()
        self._accounts = Accounts(settings.accounts, self._solver, names) if settings.accounts else None
        self._powers = self._told_powers() if self._tells_powers else None
        driven = {element for group in self._drives for element in group.driven}
        self._cautions = Cautions(settings, feeder, driven)
        self._tells_elements = bool(self._gear or self._monitored or self._accounts)

    def _limits(self, feeder: Feeder) -> Limits:
        (low, high), bases_v = self._settings.sane_v_pu, self._bases_v
        looked_at = None
        if self._settings.regulators == "active":
            buses = {*chain(*feeder.apparatus.regulated_buses(), *feeder.apparatus.banked_buses())}
            looked_at = np.flatnonzero([node.rpartition(".")[0] in buses for node in self._solver.nodes])
        return Limits(self._measured, low * bases_v * self._is_phase, high * bases_v, looked_at)

    def _told_powers(self) -> Powers:
        can_change = self._can_be_dead or self._accounts is not None
        given = [part for group in self._drives if (part := group.given_power(self._solver))]
        others = _others(self._solver, self._drives)
        return powers(self._solver, self._bases_v, self._heads, others, given, can_change)

    @property
    def interface(self) -> Interface:
        return self._interface

    @property
    def cautions(self) -> tuple[str, ...]:
        return self._cautions.told(self._name)

    def _inputs(self) -> dict[str, Port]:
        ports = {}
        for group in self._drives:
            ports[f"{group.name}.p_kw"] = Port("kW", group.labels)
            ports[f"{group.name}.q_kvar"] = Port("kvar", group.labels)
        for part in (self._head, self._gear):
            ports |= part.inputs if part else {}
        return ports | (self._island.inputs if self._island else {})

    def _outputs(self) -> dict[str, Port]:
        ports = {
            "v_pu": Port("pu", self._solver.nodes),
            "head_kw": Port("kW", ("head",)),
            "head_kvar": Port("kvar", ("head",)),
        }
        if self._tells_powers:
            ports |= {"losses_kw": Port("kW", ("feeder",)), "others_kw": Port("kW", ("feeder",))}
        if self._regulators:
            ports["taps"] = Port("1", self._regulators)
        for group in self._drives:
            ports |= {f"{group.name}.{name}": Port("pu", group.labels) for name in group.seen_ports}
            if self._tells_powers:
                ports[group.solved_port] = Port("kW", group.labels)
            ports |= {port: Port("kW", group.labels) for port in self._undelivered(group)}
        for part in (self._gear, self._monitored, self._accounts, self._island):
            ports |= part.outputs if part else {}
        return ports

    def _balances(self) -> Iterator[Balance]:
        """What the source gives is what loads draw and lines lose, less what DERs inject; all as the solver has it."""
        if not self._tells_powers:
            return
        tolerance = max(1e-9, 3 * self._settings.tolerance)
        injecting = [group.solved_port for group in self._drives if group.injects]
        injecting += self._island.formers.given_ports if self._island else []
        drawing = [group.solved_port for group in self._drives if not group.injects]
        yield Balance(
            "energy",
            enters=("head_kw", *injecting),
            leaves=("others_kw", *drawing),
            lost=("losses_kw",),
            whole=True,
            tolerance=tolerance,
            resolution=(rounding_kw(self._solver),),
        )
        for group in self._drives:
            if group.sees_voltage:
                yield group.balance(tolerance, self._undelivered(group))

    def _undelivered(self, group: Group) -> tuple[str, ...]:
        """Return the output that says what devices give where nothing is energised; none where that cannot be."""
        return (f"{group.name}.undelivered_kw",) if self._can_be_dead and group.sees_voltage else ()

    @property
    def _tells_powers(self) -> bool:
        return self._settings.powers == "everywhere"

    @property
    def _can_be_dead(self) -> bool:
        return self._island is not None or self._gear is not None

    def start(self) -> Values:
        """Solve as the feeder file stands, with devices that inject nothing."""
        self._solver.solve()
        self._seen(self._island.at_rest() if self._island else {})
        return self._concluded()

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
        """Return how what devices see answers their powers, for each of these federates: see `sensitivity`.

        Extremes of phases are taken to move as their mean.
        """
        groups = [g for g in self._drives if not g.ports.isdisjoint({*inputs, *outputs})]
        if not groups:
            return Jacobian(0, {}, {})
        devices = Devices.joined([g.devices for g in groups])
        left, right = factored(devices, self._solver.voltages(), self._bases_v, self._solver.answer)
        parts = np.cumsum([0, *(len(g.labels) for g in groups)])
        known = Jacobian(left.shape[1], {}, {})
        for group, first, last in zip(groups, parts[:-1], parts[1:], strict=True):
            known.left.update({f"{group.name}.{port}": left[first:last] for port in group.seen_ports})
            known.right.update({group.p_port: right[0][:, first:last], group.q_port: right[1][:, first:last]})
        return known

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Give every device's power to the feeder and solve it.

        inputs: `<federate>.p_kw`, `<federate>.q_kvar`, kW and kvar; `source_v_pu`, of the source's nominal voltage.
        Returns `v_pu` (pu of each bus's line-to-neutral base; each phase as `sides` says it is measured),
        `head_kw` and `head_kvar` (drawn from the bulk system), `losses_kw`, `others_kw` (drawn by the file's elements
        that no federate drives), `taps`, what devices see (`seen.py`): `<federate>.v_pu`, `v_low_pu`, `v_high_pu`, and
        what the solution has at their terminals, in the federate's own sign: `<federate>.solved_kw`; and of
        grid-forming units what they give (`island.py`): `<federate>.p_kw`, `q_kvar`, `f_hz`, `v_pu`, `fault`. Where a
        part of the feeder can be dead, what its devices say that they give is `<federate>.undelivered_kw`.
        Raises SolverError where OpenDSS finds no solution or a collapsed one.
        """
        self.iterate(now_ns, inputs)
        return self.conclude()

    def iterated(self) -> Collection[str]:
        """Return what devices see, and the voltages that it is made of: see `derloop.contract.Iterating`."""
        return {"v_pu", *(f"{group.name}.{port}" for group in self._drives for port in group.seen_ports)}

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        is_first = now_ns != self._now_ns
        if is_first:
            self._kept, self._now_ns = self._moved, now_ns
        else:
            self._restore(self._kept)
        for group in self._drives:
            group.write(inputs)
        if self._head:
            self._head.write(inputs)
        moved = self._gear is not None and self._gear.take(now_ns, inputs)
        held: Values = {}
        if self._island:
            if moved:
                self._island.forget()
            held = self._island.solve(now_ns, inputs, self._gear is not None and self._gear.is_faulted)
            if self._gear:
                self._gear.hold(self._island.alive, self._island.formers.held_at)
        else:
            self._solve(is_first, moved)
        return self._seen(held)

    def _solve(self, is_first: bool, moved: bool) -> None:
        """Solve for what is set. is_first: of this instant; moved: some part of the feeder has changed places."""
        if self._warm_start is None:
            self._solver.solve()
            return
        if moved:
            self._warm_start.leave()
        self._warm_start.solve(begins=is_first and not moved)

    def untold(self) -> Sequence[str]:
        """Return what in the feeder keeps state that no checkpoint can have: see `derloop.memory`."""
        return inventory.untold(self._solver, self._settings.regulators == "active")

    def conclude(self) -> Values:
        return self._concluded(self._now_ns)

    def stop(self) -> None:
        """Nothing to close: the solver goes with its last reference."""

    def statistics(self) -> Mapping[str, float]:
        """Return the sums of the accounts, where they are kept."""
        return self._accounts.statistics(self._interface.step_ns / 3.6e12) if self._accounts else {}

    def _seen(self, held: Values) -> Bundle:
        """Return the outputs of the last solution as far as they are voltages, with those of grid-forming units."""
        volts, told = self._volts(), self._told
        np.abs(volts, out=self._v_ground_pu)
        self._v_ground_pu /= self._bases_v
        if (others := self._measured.not_to_ground).size:
            self._v_pu[:] = self._v_ground_pu
            self._v_pu[others] = self._measured.magnitudes_not_to_ground_v(volts, self._alive) / self._bases_v[others]
        self._check_sane()
        if self._has_moved():
            self._moved = self._controls()
        if held:
            told |= held
        for group in self._drives:
            group.tell_seen(self._v_pu, volts, self._bases_v, told)
        return told

    def _concluded(self, now_ns: int | None = None) -> Bundle:
        """Return all outputs of the last solution."""
        told = self._told
        if self._regulators and self._told_taps is not self._moved[0]:
            told["taps"] = self._told_taps = self._moved[0]
        for group in self._drives if self._can_be_dead else ():
            told |= dict.fromkeys(self._undelivered(group), group.dead_kw)
        drawn = self._drawn()
        self._tell_powers(drawn)
        if self._warm_start:
            self._warm_start.end(complex(told["head_kw"][0], told["head_kvar"][0]))
        if self._tells_elements:
            told |= self._of_elements(drawn, now_ns)
        self._solution.settle()  # after all currents were asked for: that may iterate once more
        return told

    def _has_moved(self) -> bool:
        """Return whether taps and banks must be read again."""
        if self._island or self._gear:
            return True
        return self._settings.regulators == "active" and self._solver.has_acted

    def _drawn(self) -> NDArray[np.complex128]:
        """Return what each element draws, kVA (elements,), or only each of the heads, as far as powers are told."""
        drawn = self._powers.drawn(self._v_ground_pu) if self._powers else self._solver.elements.powers_of(self._heads)
        if self._island:
            return drawn * self._island.is_solved
        return drawn.copy() if self._gear or self._monitored else drawn  # the view has the currents of the next call

    def _tell_powers(self, drawn: NDArray[np.complex128]) -> None:
        told = self._told
        if self._powers:
            head, told["losses_kw"][0], told["others_kw"][0] = self._powers.totals(drawn)
            for group in self._drives:
                group.tell_solved(drawn, told)
        else:
            head = complex(np.add.reduce(drawn))
        told["head_kw"][0], told["head_kvar"][0] = -head.real, -head.imag  # what feeds draws less than nothing

    def _of_elements(self, drawn: NDArray[np.complex128], now_ns: int | None) -> dict[str, FloatArray]:
        """Return what was asked for of switches, currents and accounts."""
        asked = self._monitored is not None or (self._gear is not None and self._gear.needs_currents)
        currents_a = self._solver.elements.most_currents_a() if asked else None
        values: dict[str, FloatArray] = {}
        if self._gear:
            self._gear.see(currents_a)
            values = self._gear.outcome() | {"unserved_kw": np.array([self._unserved_kw()])}
        if self._monitored and currents_a is not None:
            values |= self._monitored.measured(currents_a)
        if self._accounts:
            if now_ns is not None:
                self._accounts.take(now_ns, drawn, self._v_pu, values.get("loading_pu", np.zeros(0)))
            values |= self._accounts.outcome()
        return values

    def loads_at(self, powers: Values) -> Iterator[tuple[str, float]]:
        """Yield bus and kW of each load: as `powers`, inputs, say, or as the file does where nobody drives it."""
        yield from ((load.bus, load.kw) for load in self._undriven)
        for group in self._drives:
            if not group.injects:
                yield from zip(group.buses, powers[group.p_port].tolist(), strict=True)

    def _unserved_kw(self) -> float:
        """Return what loads would draw where nothing is energised."""
        driven_kw = sum(float(group.dead_kw.sum()) for group in self._drives if not group.injects)
        return self._file_loads.unserved_kw + driven_kw

    def _volts(self) -> NDArray[np.complex128]:
        volts = self._solver.voltages()
        return volts if self._alive is None else volts * self._alive

    @property
    def _alive(self) -> NDArray[np.bool_] | None:
        """Which nodes are energised; None where all are."""
        part = self._island or self._gear
        return part.alive if part else None

    def _check_sane(self) -> None:
        low, high = self._settings.sane_v_pu
        if self._gear and self._gear.is_faulted:
            low = 0.0
        v_pu = self._v_pu
        if v_pu[v_pu.argmin()] >= low and v_pu[v_pu.argmax()] <= high:
            return
        outside = np.maximum(low * self._is_phase - self._v_pu, self._v_pu - high)  # a neutral has next to no voltage
        if self._alive is not None:
            outside = np.where(self._measured.with_voltage(self._alive), outside, -1.0)
        worst = int(outside.argmax())
        if outside[worst] > 0.0:
            unfed = ", which nothing seems to feed" if self._v_pu[worst] < UNFED_PU else ""
            raise SolverError(
                f"voltage collapse: {self._v_pu[worst]:.3f} pu at {self._solver.nodes[worst]!r}{unfed}, "
                f"sane is {low:g} to {high:g} (setting sane_v_pu)"
            )

    def _controls(self) -> tuple[FloatArray, list[list[int]]]:
        return self._solver.positions.taps(), self._solver.positions.banks()

    def _restore(self, controls: tuple[FloatArray, list[list[int]]]) -> None:
        taps, capacitors = controls
        if not np.array_equal(taps, self._moved[0]):
            self._solver.positions.set_taps(taps)
        if capacitors != self._moved[1]:
            self._solver.positions.set_banks(capacitors)
        self._moved = controls


def _formers(
    settings: OpenDssSettings, forming: Mapping[str, Sequence[Terminal]], feeder: Feeder, context: Context
) -> Formers | None:
    """Return the grid-forming units, added to the feeder; None where there are none."""
    if settings.island is not None and not forming:
        raise PlaceError([(("island",), "nothing could hold an island: no federate is of kind 'grid-forming'")])
    if forming and not inventory.is_fed_by_head_alone(feeder.solver):
        heads = ", ".join(inventory.head_buses(feeder.solver))
        what = f"it has other sources than its circuit's, at {heads}: beside grid-forming units it may have that one"
        raise PlaceError([(("feeder",), what)])
    base_hz = inventory.base_hz(feeder.solver)
    for name in forming:
        nominal_hz = getattr(context.settings.get(name), "f_nominal_hz", base_hz)
        if nominal_hz != base_hz:
            raise PlaceError([(("feeder",), f"the feeder has {base_hz:g} Hz, and {name} forms {nominal_hz:g} Hz")])
    return Formers(forming, feeder.buses, feeder.solver) if forming else None


def _gear(settings: OpenDssSettings, feeder: Feeder) -> Switchgear | None:
    """Return what may change in the feeder, its faults added; None where nothing may."""
    if not settings.can_change:
        return None
    acting = settings.regulators == "active"
    return Switchgear(settings, feeder.apparatus, feeder.solver, acting)


def _undriven(feeder: Feeder, groups: Sequence[Group]) -> list[FeederLoad]:
    """Return the loads of the file that no federate drives."""
    driven = {element for group in groups for element in group.driven}
    return [load for name, load in feeder.loads.items() if name not in driven]


def _heads(solver: Solver, formers: Formers | None) -> NDArray[np.intp]:
    """Return the sources of the feeder file, of its elements."""
    elements = solver.elements
    return np.array([i for i in elements.sources if not (formers and formers.has(elements.names[i]))], np.intp)


def _others(solver: Solver, groups: Sequence[Group]) -> NDArray[np.intp]:
    """Return the elements that neither feed nor deliver, and that no federate drives."""
    known = [solver.elements.sources, solver.elements.delivery, *(group.elements for group in groups)]
    return np.setdiff1d(np.arange(len(solver.elements.names)), np.concatenate(known))


def _build(settings: OpenDssSettings, context: Context) -> OpenDssFeeder:
    feeder = context.feeder if isinstance(context.feeder, Feeder) else Feeder(settings, context)
    check_terminals(context, feeder)
    try:
        return OpenDssFeeder(settings, context, feeder)
    except SolverError as error:
        raise PlaceError([(("feeder",), f"OpenDSS cannot solve {settings.feeder} as it stands: {error}")]) from error


KIND = Kind(
    name="opendss",
    summary="A distribution feeder from an OpenDSS file, solved at each step.",
    settings=OpenDssSettings,
    build=_build,
    place=Feeder,
)
