"""Kind `opendss`: a distribution feeder, solved by OpenDSS at each instant.

Every device that meets the feeder is wired to it by name: the feeder's input `pv.p_kw` takes output `p_kw` of federate
`pv`, its output `pv.v_pu` feeds input `v_pu`. Devices inject (positive: into the feeder); federates that drive loads of
the feeder file give the powers that these draw (positive: drawn) at nominal voltage, and the load keeps its own voltage
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import Balance, FloatArray, Interface, Jacobian, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Bus, Context, FeederLoad, Kind, PlaceError, Settings, Terminal
from federates.grid.feeder_file import feeder_problems
from federates.grid.island import Formers, Island, IslandSettings, Limits
from federates.grid.seen import Phases, extremes, voltage
from federates.grid.sensitivity import Devices, factored
from federates.grid.solver import Setpoints, Solver, SolverError

SQRT3 = 3**0.5


class OpenDssSettings(Settings):
    feeder: str = Field(
        min_length=1,
        max_length=500,
        description="The .dss file, relative to the scenario.",
        examples=["feeders/ieee13/ieee13.dss"],
    )
    regulators: Literal["active", "locked"] = Field(
        "active", description="locked: every control of the feeder file rests, taps stay where the file has them."
    )
    tolerance: float = Field(
        3e-10,
        ge=1e-10,
        le=1e-3,
        description="OpenDSS's own tolerance, pu. Energy balances close about as far as this; they are judged to three "
        "times it, or to 1e-9.",
    )
    max_iterations: int = Field(100, ge=5, le=10_000, description="Iterations of one solution.")
    sane_v_pu: tuple[float, float] = Field(
        (0.3, 2.0),
        description="A solution with an energised node outside this band ends the run, for OpenDSS calls some "
        "collapsed states converged.",
    )
    island: IslandSettings | None = Field(
        None,
        description="A switch behind which grid-forming units hold what is cut off from the head.",
        examples=[{"switch": "head", "opens_at_s": 3600}],
    )
    step_s: float | None = Field(None, ge=0.001, le=86400, description="Its own step; the scenario's without it.")


class Feeder:
    """What is known of a feeder before anything is solved; and the solver that has read it."""

    def __init__(self, settings: OpenDssSettings, context: Context) -> None:
        self.path = _feeder_path(settings.feeder, context)
        try:
            self.solver = Solver(self.path)
        except SolverError as error:
            raise PlaceError([(("feeder",), f"OpenDSS refuses {settings.feeder}: {error}")]) from error
        self._buses, self._loads = self.solver.buses(), self.solver.loads()
        self._impedances_ohm: Mapping[str, complex] = {}

    @property
    def buses(self) -> Mapping[str, Bus]:
        return self._buses

    @property
    def loads(self) -> Mapping[str, FeederLoad]:
        return self._loads

    def source_impedance_ohm(self, bus: str) -> complex:
        """Return the short-circuit impedance of a bus, of positive sequence where it has three phases."""
        if not self._impedances_ohm:
            self._impedances_ohm = Solver(self.path).source_impedances_ohm()  # in an engine of its own: it solves
        return self._impedances_ohm[bus]


def _feeder_path(feeder: str, context: Context) -> Path:
    """Return the feeder's path when it may be given to OpenDSS; raise PlaceError with every reason why not."""
    try:
        path = (context.folder / feeder).resolve()
        is_file = path.is_file()
    except ValueError as error:
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: it holds a null character")]) from error
    except OSError as error:
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: {error}")]) from error
    except RuntimeError:  # a ring of links, before Python 3.13
        is_file = False
    if not is_file and (context.folder / feeder).is_symlink():
        raise PlaceError([(("feeder",), f"{feeder!r} cannot be opened: it is a link that leads to no file")])
    if '"' in str(path):  # no quoting of OpenDSS's holds one
        raise PlaceError([(("feeder",), f"a path with a quotation mark cannot be given to OpenDSS: {path}")])
    if context.permissions.trust_feeder:
        if not is_file:
            raise PlaceError([(("feeder",), f"no file {feeder!r} in {context.folder}")])
        return path
    if not path.is_relative_to(context.folder.resolve()):
        raise PlaceError([(("feeder",), f"{feeder!r} leaves the scenario's folder; --trust-feeder allows it")])
    if not is_file:
        there = [str(p.relative_to(context.folder)) for p in sorted(context.folder.glob("**/*.dss"))[:50]]
        raise PlaceError([(("feeder",), f"no file {feeder!r}" + did_you_mean(feeder, there))])
    if problems := feeder_problems(path, context.folder.resolve()):
        raise PlaceError([(("feeder",), str(problem)) for problem in problems])
    return path


class OpenDssFeeder:
    """The feeder as a federate."""

    def __init__(self, settings: OpenDssSettings, context: Context, feeder: Feeder) -> None:
        self._settings, self._solver = settings, feeder.solver
        forming = {name: t for name, t in context.terminals.items() if t and t[0].forms}
        self._drives = [_Group(name, t, feeder) for name, t in context.terminals.items() if t and name not in forming]
        for group in self._drives:
            group.add(self._solver)
        formers = _formers(settings, forming, feeder, context)
        self._solver.prepare(settings.regulators == "active", settings.tolerance, settings.max_iterations)
        for group in self._drives:
            group.attach(self._solver)
        self._bases_v = 1000 * np.array([feeder.buses[n.split(".")[0]].kv_ln for n in self._solver.nodes])
        limits = _limits(settings, self._bases_v)
        self._island = None if formers is None else Island(settings.island, formers, self._solver, limits)
        self._regulators = self._solver.regulators()
        self._others = _others(self._solver, self._drives)
        self._heads = [i for i in self._solver.sources if not (formers and formers.has(self._solver.elements[i]))]
        self._kept = self._moved = self._controls()
        self._now_ns = -1
        step_ns = round(settings.step_s * 1e9) if settings.step_s else context.step_ns
        self._interface = Interface(step_ns, self._inputs(), self._outputs(), balances=tuple(self._balances()))
        self._v_pu = np.zeros(len(self._solver.nodes))

    @property
    def interface(self) -> Interface:
        return self._interface

    def _inputs(self) -> dict[str, Port]:
        ports = {}
        for group in self._drives:
            ports[f"{group.name}.p_kw"] = Port("kW", group.labels)
            ports[f"{group.name}.q_kvar"] = Port("kvar", group.labels)
        return ports | (self._island.inputs if self._island else {})

    def _outputs(self) -> dict[str, Port]:
        ports = {
            "v_pu": Port("pu", self._solver.nodes),
            "head_kw": Port("kW", ("head",)),
            "head_kvar": Port("kvar", ("head",)),
            "losses_kw": Port("kW", ("feeder",)),
            "others_kw": Port("kW", ("feeder",)),
        }
        if self._regulators:
            ports["taps"] = Port("1", self._regulators)
        for group in self._drives:
            ports |= {f"{group.name}.{name}": Port("pu", group.labels) for name in group.seen_ports}
            ports[group.solved_port] = Port("kW", group.labels)
            ports |= {port: Port("kW", group.labels) for port in self._undelivered(group)}
        return ports | (self._island.outputs if self._island else {})

    def _balances(self) -> Iterator[Balance]:
        """What the source gives is what loads draw and lines lose, less what DERs inject; all as the solver has it."""
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
            resolution=(self._solver.rounding_kw(),),
        )
        for group in self._drives:
            if group.sees_voltage:
                yield group.balance(tolerance, self._undelivered(group))

    def _undelivered(self, group: _Group) -> tuple[str, ...]:
        """Return the output that says what devices give where nothing is energised; none where that cannot be."""
        return (f"{group.name}.undelivered_kw",) if self._island and group.sees_voltage else ()

    def start(self) -> Values:
        """Solve as the feeder file stands, with devices that inject nothing."""
        self._solver.solve()
        return self._solved("before the first step", self._island.at_rest() if self._island else {})

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

        inputs: `<federate>.p_kw`, `<federate>.q_kvar`, kW and kvar.
        Returns `v_pu` (pu of each bus's line-to-neutral base), `head_kw` and `head_kvar` (drawn from the bulk system),
        `losses_kw`, `others_kw` (drawn by the file's elements that no federate drives), `taps`, what devices see
        (`seen.py`): `<federate>.v_pu`, `v_low_pu`, `v_high_pu`, and what the solution has at their terminals, in the
        federate's own sign: `<federate>.solved_kw`; and of grid-forming units what they give (`island.py`):
        `<federate>.p_kw`, `q_kvar`, `f_hz`, `v_pu`, `fault`. Where a part of the feeder can be dead, what its devices
        say that they give is `<federate>.undelivered_kw`.
        Raises SolverError where OpenDSS finds no solution or a collapsed one.
        """
        if now_ns == self._now_ns:
            self._restore(self._kept)
        else:
            self._kept, self._now_ns = self._moved, now_ns
        for group in self._drives:
            group.write(inputs)
        held: Values = {}
        if self._island:
            held = self._island.solve(now_ns, inputs)
        else:
            self._solver.solve()
        return self._solved(f"at {now_ns / 1e9:g} s", held)

    def stop(self) -> None:
        """Nothing to close: the solver goes with its last reference."""

    def _solved(self, when: str, held: Values) -> dict[str, FloatArray]:
        """Return the outputs of the last solution, with those of the grid-forming units."""
        volts = self._volts()
        np.abs(volts, out=self._v_pu)
        self._v_pu /= self._bases_v
        self._check_sane(when)
        if self._settings.regulators == "active":
            self._moved = self._controls()
        drawn = self._solver.element_powers() * (self._island is None or self._island.is_solved)
        source = -drawn[self._heads].sum(keepdims=True)
        values = {
            "v_pu": self._v_pu,
            "head_kw": source.real,
            "head_kvar": source.imag,
            "losses_kw": drawn[self._solver.delivery].real.sum(keepdims=True),
            "others_kw": drawn[self._others].real.sum(keepdims=True),
            **held,
        }
        if self._regulators:
            values["taps"] = self._moved[0]
        for group in self._drives:
            values |= group.seen(self._v_pu, volts, self._bases_v)
            values[group.solved_port] = group.solved_kw(drawn)
            values |= {port: group.given_kw(volts == 0.0) for port in self._undelivered(group)}
        return values

    def _volts(self) -> NDArray[np.complex128]:
        volts = self._solver.voltages()
        return volts * self._island.alive if self._island else volts

    def _check_sane(self, when: str) -> None:
        low, high = self._settings.sane_v_pu
        outside = np.maximum(low - self._v_pu, self._v_pu - high)
        if self._island:
            outside = np.where(self._island.alive, outside, -1.0)
        worst = int(outside.argmax())
        if outside[worst] > 0.0:
            raise SolverError(
                f"voltage collapse {when}: {self._v_pu[worst]:.3f} pu at {self._solver.nodes[worst]!r}, "
                f"sane is {low:g} to {high:g} (setting sane_v_pu)"
            )

    def _controls(self) -> tuple[FloatArray, list[list[int]]]:
        return self._solver.taps(), self._solver.capacitor_states()

    def _restore(self, controls: tuple[FloatArray, list[list[int]]]) -> None:
        taps, capacitors = controls
        if not np.array_equal(taps, self._moved[0]):
            self._solver.set_taps(taps)
        if capacitors != self._moved[1]:
            self._solver.set_capacitor_states(capacitors)


class _Group:
    """The devices of one federate at the feeder."""

    def __init__(self, name: str, terminals: Sequence[Terminal], feeder: Feeder) -> None:
        self.name, self._terminals, self._feeder = name, terminals, feeder
        self.labels = tuple(t.label for t in terminals)
        self.sees_voltage = not any(t.element for t in terminals)
        self.p_port, self.q_port, self.solved_port = f"{name}.p_kw", f"{name}.q_kvar", f"{name}.solved_kw"
        self.ports = {self.p_port, self.q_port, *(f"{name}.{port}" for port in self.seen_ports)}
        self.injects = self.sees_voltage and not terminals[0].draws
        self._sign = -1.0 if terminals[0].draws and self.sees_voltage else 1.0

    def add(self, solver: Solver) -> None:
        for index, terminal in enumerate(self._terminals):
            if not terminal.element:
                kv = self._feeder.buses[terminal.bus].kv_ln * (1.0 if len(terminal.phases) == 1 else SQRT3)
                solver.add_injection(f"{self.name}_{index}", terminal.bus, terminal.phases, kv)

    def attach(self, solver: Solver) -> None:
        self._setpoints = self._made(solver)
        place = {element: index for index, element in enumerate(solver.elements)}
        self.elements = np.array([place[name] for name in self._element_names()])
        number = {node: index for index, node in enumerate(solver.nodes)}
        most = max(len(t.phases) for t in self._terminals)
        self._nodes = np.zeros((len(self._terminals), most), dtype=np.intp)
        self._weights = np.zeros((len(self._terminals), most))
        self._count = np.array([len(t.phases) for t in self._terminals])
        for row, terminal in enumerate(self._terminals):
            self._nodes[row] = number[f"{terminal.bus}.{terminal.phases[0]}"]
            for column, phase in enumerate(terminal.phases):
                self._nodes[row, column] = number[f"{terminal.bus}.{phase}"]
                self._weights[row, column] = 1 / len(terminal.phases)

    def _made(self, solver: Solver) -> Setpoints:
        names = [name.partition(".")[2] for name in self._element_names()]
        return solver.injections(names) if self.sees_voltage else solver.drawn_by(names)

    def _element_names(self) -> list[str]:
        """Return the names of its elements in the solver: "generator.pv_0", "load.671"."""
        if self.sees_voltage:
            return [f"generator.{self.name}_{i}".lower() for i in range(len(self._terminals))]
        return [f"load.{t.element}" for t in self._terminals]

    def write(self, inputs: Values) -> None:
        np.multiply(inputs[self.p_port], self._sign, out=self._setpoints.p_kw)
        np.multiply(inputs[self.q_port], self._sign, out=self._setpoints.q_kvar)
        self._setpoints.write()

    def solved_kw(self, drawn: NDArray[np.complex128]) -> FloatArray:
        """Return the power (devices,) that the solution has at the terminals, in the federate's sign."""
        kw: FloatArray = -drawn[self.elements].real if self.injects else drawn[self.elements].real
        return kw

    def given_kw(self, nodes: NDArray[np.bool_]) -> FloatArray:
        """Return the power (devices,) that the devices at these nodes (nodes,) say they give, in their own sign."""
        kw: FloatArray = np.where(nodes[self._nodes[:, 0]], self._sign * self._setpoints.p_kw, 0.0)
        return kw

    def balance(self, tolerance: float, undelivered: tuple[str, ...]) -> Balance:
        """What the federate says it injects, or draws, is what the solver has at its terminals."""
        resolution = tuple(tolerance * terminal.rated_kva for terminal in self._terminals)
        leaves = (self.solved_port, *undelivered)
        return Balance("power", (self.p_port,), leaves, partner=self.name, resolution=resolution)

    @property
    def devices(self) -> Devices:
        """Where they meet the feeder, for `sensitivity`."""
        return Devices(self._nodes, self._weights, np.full(len(self.labels), 1.0 if self.injects else -1.0))

    @property
    def seen_ports(self) -> tuple[str, ...]:
        """The outputs that say what its devices see."""
        if not self.sees_voltage:
            return ()
        return ("v_pu", "v_low_pu", "v_high_pu") if self._terminals[0].extremes else ("v_pu",)

    def seen(self, v_pu: FloatArray, volts: NDArray[np.complex128], bases_v: FloatArray) -> dict[str, FloatArray]:
        """Return what each device sees, shape (devices,), pu: `v_pu`, and the extremes where they are asked for."""
        first = self._terminals[0]
        if not self.sees_voltage:
            return {}
        if first.sees == "mean" and not first.extremes:
            return {f"{self.name}.v_pu": self._means(v_pu)}
        phases = Phases(volts[self._nodes] / bases_v[self._nodes], self._count)
        found = {f"{self.name}.v_pu": voltage(phases, first.sees)}
        if first.extremes:
            found[f"{self.name}.v_low_pu"], found[f"{self.name}.v_high_pu"] = extremes(phases)
        return found

    def _means(self, v_pu: FloatArray) -> FloatArray:
        if self._nodes.shape[1] == 1:
            return v_pu[self._nodes[:, 0]]
        mean: FloatArray = np.einsum("ij,ij->i", v_pu[self._nodes], self._weights)
        return mean


def _formers(
    settings: OpenDssSettings, forming: Mapping[str, Sequence[Terminal]], feeder: Feeder, context: Context
) -> Formers | None:
    """Return the grid-forming units, added to the feeder; None where there are none."""
    if settings.island is not None and not forming:
        raise PlaceError([(("island",), "nothing could hold an island: no federate is of kind 'grid-forming'")])
    base_hz = feeder.solver.base_hz()
    for name in forming:
        nominal_hz = getattr(context.settings.get(name), "f_nominal_hz", base_hz)
        if nominal_hz != base_hz:
            raise PlaceError([(("feeder",), f"the feeder has {base_hz:g} Hz, and {name} forms {nominal_hz:g} Hz")])
    kv_ln = {bus.name: bus.kv_ln for bus in feeder.buses.values()}
    return Formers(forming, kv_ln, feeder.solver) if forming else None


def _limits(settings: OpenDssSettings, bases_v: FloatArray) -> Limits:
    low, high = settings.sane_v_pu
    return Limits(low * bases_v, high * bases_v, settings.regulators == "active")


def _others(solver: Solver, groups: Sequence[_Group]) -> NDArray[np.intp]:
    """Return the elements that neither feed nor deliver, and that no federate drives."""
    known = [solver.sources, solver.delivery, *(group.elements for group in groups)]
    return np.setdiff1d(np.arange(len(solver.elements)), np.concatenate(known))


def _check_terminals(context: Context, feeder: Feeder) -> None:
    """Refuse devices at places that the feeder does not have, of any kind, and loads that are driven twice."""
    problems = [
        f"{name}: {terminal.label!r} is at {terminal.bus}.{'.'.join(map(str, terminal.phases))}, which {problem}"
        for name, terminals in context.terminals.items()
        for terminal in terminals
        if (problem := _misplaced(terminal, feeder))
    ]
    problems += _driven_twice(context)
    if problems:
        raise PlaceError([((), problem) for problem in problems])


def _misplaced(terminal: Terminal, feeder: Feeder) -> str:
    """Return why a terminal has no place in the feeder; empty where it has one."""
    bus = feeder.buses.get(terminal.bus)
    if bus is None:
        return "the feeder does not have" + did_you_mean(terminal.bus, [*feeder.buses])
    if not terminal.phases or not set(terminal.phases) <= set(bus.phases):
        return f"is not all there: the bus has {', '.join(map(str, bus.phases))}"
    if terminal.element and terminal.element not in feeder.loads:
        return f"has no load {terminal.element!r}" + did_you_mean(terminal.element, [*feeder.loads])
    return ""


def _driven_twice(context: Context) -> list[str]:
    driven = sorted((t.element, name) for name, terminals in context.terminals.items() for t in terminals if t.element)
    drivers = {element: [name for _, name in found] for element, found in groupby(driven, key=lambda pair: pair[0])}
    return [
        f"load {element!r} is driven more than once, by {' and '.join(names)}"
        for element, names in drivers.items()
        if len(names) > 1
    ]


def _build(settings: OpenDssSettings, context: Context) -> OpenDssFeeder:
    feeder = context.feeder if isinstance(context.feeder, Feeder) else Feeder(settings, context)
    _check_terminals(context, feeder)
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
