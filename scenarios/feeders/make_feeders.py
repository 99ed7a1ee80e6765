"""Write the IEEE 13, 34 and 123 node test feeders as OpenDSS scripts, from the published tables.

    python make_feeders.py [folder]

writes `<folder>/<feeder>/<feeder>.dss` for each feeder; the folder is this file's own unless told otherwise.
The tables are in `published/`: IEEE PES Distribution System Analysis Subcommittee, solution of 2004.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import pi, sqrt
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE / "published"

Row = dict[str, str]
Element = tuple[str, ...]
"""A command and its settings, `("New Load.671", "phases=3", ...)`: the columns of one line of the script."""

HERTZ = 60
NF_PER_MICROSIEMENS = 1000 / (2 * pi * HERTZ)
TAP_STEP_PU = 0.1 / 16
PHASES = "abc"
PHASE_PAIRS = ("ab", "bc", "ca")
LOAD_MODELS = {"PQ": 1, "Z": 2, "I": 5}
SWITCH_IMPEDANCE = {"r1": 0.0001, "x1": 0, "r0": 0.0001, "x0": 0, "c1": 0, "c0": 0, "length": 1}
CONNECTIONS = {"Y": "wye", "Gr-W": "wye", "D": "delta"}

HEADER = """\
! {title}
!
! Written by make_feeders.py from published/{name}_*.csv: change those, not this file.
! Source: tables of the IEEE PES Distribution System Analysis Subcommittee, solution of 2004.
!
! The source is stiff and stands where the published solution begins, at bus {source_bus}: {source_pu} pu
! of {base_kv} kV. The substation transformer before it is left out, as in that solution.
! Half of each distributed load stands at each end of its line.
! Regulators start at the taps of the published solution, and their controls are enabled. Where they settle
! depends on where they start; `Set ControlMode=off` locks them, and then the published voltages follow.
! The file defines the circuit; it does not solve it.
!
! Names
!   bus 671, rg60                      node of the published tables, in lower case; phases a b c are .1 .2 .3
!   Line.632_671, Line.sw_671_692      line and switch, by its two buses; an open switch is not enabled
!   Load.671                           three phases of equal power
!   Load.634a, Load.646bc              phase a to neutral, phase b to phase c
!   Load.632_671a_at_632               that half of the distributed load on line 632-671 which stands at 632
!   Capacitor.675, Capacitor.611c      three phases, phase c
!   Transformer.rg60a, RegControl.rg60a   regulator of phase a; without a letter: three phases ganged
!   Transformer.xfm_1                  transformer XFM-1
"""


class Feeder(NamedTuple):
    """What the tables of a feeder do not say.

    The source is at `source_bus`, `source_pu` of `base_kv`, as the published solution has it.
    Transformer XFM-1 is between `high_bus` and the first of `low_buses`; these are all the buses behind it.
    """

    name: str
    title: str
    source_bus: str
    source_pu: float
    base_kv: float
    high_bus: str
    low_buses: tuple[str, ...]

    def table(self, name: str) -> list[Row]:
        """The rows of a published table; none if the feeder has no such table."""
        path = PUBLISHED / f"{self.name}_{name}.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(line for line in file if not line.startswith("#")))

    def xfm_1(self) -> Row:
        return next(row for row in self.table("transformers") if row["id"] == "XFM-1")

    def kv(self, bus: str) -> float:
        """Nominal kV of a bus, line to line."""
        return float(self.xfm_1()["kv_low"]) if bus in self.low_buses else self.base_kv

    def sending_bus(self, node_a: str, node_b: str) -> str:
        """Where the line from node a to node b begins: behind its regulator or transformer, if it has one."""
        for row in self.table("regulators"):
            if (row["node"], row["segment"]) == (node_a, node_b):
                return row["regulator"].lower()
        return self.low_buses[0] if (node_a, node_b) == (self.high_bus, self.low_buses[-1]) else node_a


FEEDERS = (
    Feeder("ieee13", "IEEE 13 node test feeder", "650", 1.0, 4.16, "633", ("634",)),
    Feeder("ieee34", "IEEE 34 node test feeder", "800", 1.05, 24.9, "832", ("888", "890")),
    Feeder("ieee123", "IEEE 123 node test feeder", "150", 1.0, 4.16, "61", ("xf1", "610")),
)


def element(name: str, settings: Mapping[str, object]) -> Element:
    return (f"New {name}", *(f"{key}={text(value)}" for key, value in settings.items()))


def text(value: object) -> str:
    """A setting as OpenDSS reads it; numbers with seven significant digits, tuples as arrays."""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, tuple):
        return f"({' '.join(map(text, value))})"
    return str(value)


def terminal(bus: str, phases: str) -> str:
    """A bus and the OpenDSS nodes of its phases: `646.2.3`."""
    return ".".join([bus, *(str(PHASES.index(phase) + 1) for phase in phases)])


def suffix(phases: str) -> str:
    """What a name says of its phases: nothing if they are three."""
    return "" if phases == PHASES else phases


def source(feeder: Feeder) -> Iterator[Element]:
    settings = {"bus1": feeder.source_bus, "basekv": feeder.base_kv, "pu": feeder.source_pu}
    yield element(f"Circuit.{feeder.name}", settings | {"r1": 0, "x1": 0.0001, "r0": 0, "x0": 0.0001})


Matrices = dict[str, dict[str, Row]]
"""Of each line configuration the row of each matrix element: `["601"]["ab"]`."""


def matrices(feeder: Feeder) -> Matrices:
    configs: Matrices = {}
    for row in feeder.table("line_configs"):
        configs.setdefault(row["config"], {})[row["element"]] = row
    return configs


def phases_of(config: Mapping[str, Row]) -> str:
    """The phases that a line configuration has: those with an impedance."""
    return "".join(phase for phase in PHASES if float(config[phase * 2]["x_ohm_per_mile"]))


def line_codes(feeder: Feeder) -> Iterator[Element]:
    for name, config in matrices(feeder).items():
        settings = {
            "nphases": len(phases_of(config)),
            "units": "mi",
            "rmatrix": lower_triangle(config, "r_ohm_per_mile", 1),
            "xmatrix": lower_triangle(config, "x_ohm_per_mile", 1),
            "cmatrix": lower_triangle(config, "b_uS_per_mile", NF_PER_MICROSIEMENS),
        }
        yield element(f"LineCode.{name}", settings)


def lower_triangle(config: Mapping[str, Row], column: str, factor: float) -> str:
    """One matrix of a line configuration, without the phases that it lacks: `(aa | ab bb | ac bc cc)`."""
    phases = phases_of(config)
    rows = (
        " ".join(text(factor * float(config[first + second][column])) for first in phases[: index + 1])
        for index, second in enumerate(phases)
    )
    return f"({' | '.join(rows)})"


def lines(feeder: Feeder) -> Iterator[Element]:
    configs = matrices(feeder)
    for row in feeder.table("lines"):
        if row["config"] not in configs:
            continue
        phases = phases_of(configs[row["config"]])
        start, end = feeder.sending_bus(row["node_a"], row["node_b"]), row["node_b"]
        settings = {
            "phases": len(phases),
            "bus1": terminal(start, phases),
            "bus2": terminal(end, phases),
            "linecode": row["config"],
            "length": float(row["length_ft"]),
            "units": "ft",
        }
        yield element(f"Line.{start}_{end}", settings)


def common_phases(feeder: Feeder, *nodes: str) -> str:
    """The phases that all these nodes have; a node that no line reaches has three."""
    common = set(PHASES)
    for node in nodes:
        common &= line_phases(feeder, node) or common
    return "".join(sorted(common))


def line_phases(feeder: Feeder, node: str) -> set[str]:
    """The phases of all lines at a node."""
    configs = matrices(feeder)
    rows = (row for row in feeder.table("lines") if row["config"] in configs)
    at_node = (row for row in rows if node in (row["node_a"], row["node_b"]))
    return {phase for row in at_node for phase in phases_of(configs[row["config"]])}


def switches(feeder: Feeder) -> Iterator[Element]:
    rows = [row | {"normal": "closed"} for row in feeder.table("lines") if row["config"] == "switch"]
    for row in [*rows, *feeder.table("switches")]:
        start, end = feeder.sending_bus(row["node_a"], row["node_b"]), row["node_b"]
        phases = common_phases(feeder, row["node_a"], end)
        settings = {
            "phases": len(phases),
            "bus1": terminal(start, phases),
            "bus2": terminal(end, phases),
            "switch": "yes",
            **SWITCH_IMPEDANCE,
            "enabled": "yes" if row["normal"] == "closed" else "no",
        }
        yield element(f"Line.sw_{start}_{end}", settings)


def transformers(feeder: Feeder) -> Iterator[Element]:
    row = feeder.xfm_1()
    settings = {
        "phases": 3,
        "windings": 2,
        "buses": (terminal(feeder.high_bus, PHASES), terminal(feeder.low_buses[0], PHASES)),
        "conns": (CONNECTIONS[row["conn_high"]], CONNECTIONS[row["conn_low"]]),
        "kvs": (float(row["kv_high"]), float(row["kv_low"])),
        "kvas": (float(row["kva"]),) * 2,
        "%loadloss": float(row["r_pct"]),
        "xhl": float(row["x_pct"]),
    }
    yield element("Transformer.xfm_1", settings)


def regulator_phases(row: Row) -> str:
    return PHASES if "Ganged" in row["model"] else PHASES[int(row["phase"]) - 1]


def regulator_name(row: Row) -> str:
    return row["regulator"].lower() + suffix(regulator_phases(row))


def regulators(feeder: Feeder) -> Iterator[Element]:
    """Regulators as all but ideal transformers, rated at the primary current of their current transformer."""
    for row in feeder.table("regulators"):
        phases = regulator_phases(row)
        kv = feeder.base_kv if len(phases) == 3 else feeder.base_kv / sqrt(3)
        kva = len(phases) * float(row["ct_rating"]) * feeder.base_kv / sqrt(3)
        settings = {
            "phases": len(phases),
            "windings": 2,
            "buses": (terminal(row["node"], phases), terminal(row["regulator"].lower(), phases)),
            "conns": ("wye", "wye"),
            "kvs": (kv, kv),
            "kvas": (kva, kva),
            "%loadloss": 0.0001,
            "xhl": 0.001,
            "taps": (1, 1 + TAP_STEP_PU * int(row["tap"])),
        }
        yield element(f"Transformer.{regulator_name(row)}", settings)


def regulator_controls(feeder: Feeder) -> Iterator[Element]:
    for row in feeder.table("regulators"):
        settings = {
            "transformer": regulator_name(row),
            "winding": 2,
            "vreg": float(row["volt_hold"]),
            "band": float(row["bandwidth_v"]),
            "ptratio": float(row["pt_ratio"]),
            "ctprim": float(row["ct_rating"]),
            "r": float(row["r_volt"]),
            "x": float(row["x_volt"]),
        }
        yield element(f"RegControl.{regulator_name(row)}", settings)


class Power(NamedTuple):
    """A load drawn on some phases: one (a), two for a delta load (ab), or three alike (abc)."""

    phases: str
    kw: float
    kvar: float


def powers(row: Row) -> list[Power]:
    """The loads that a row of a load table stands for: one for each phase, or one if the three are alike."""
    names = PHASE_PAIRS if row["model"].startswith("D") else PHASES
    drawn = [
        Power(name, float(row[f"kw_{column}"]), float(row[f"kvar_{column}"]))
        for column, name in enumerate(names, start=1)
    ]
    if len({(power.kw, power.kvar) for power in drawn}) == 1:
        return [Power(PHASES, 3 * drawn[0].kw, 3 * drawn[0].kvar)]
    return [power for power in drawn if power.kw or power.kvar]


def load(feeder: Feeder, name: str, bus: str, model: str, power: Power) -> Element:
    connection, kind = model.split("-")
    settings = {
        "phases": 3 if power.phases == PHASES else 1,
        "bus1": terminal(bus, power.phases),
        "conn": CONNECTIONS[connection],
        "model": LOAD_MODELS[kind],
        "kv": feeder.kv(bus) / (sqrt(3) if len(power.phases) == 1 else 1),
        "kw": power.kw,
        "kvar": power.kvar,
        "vminpu": 0.8,
        "vmaxpu": 1.2,
    }
    return element(f"Load.{name}", settings)


def spot_loads(feeder: Feeder) -> Iterator[Element]:
    for row in feeder.table("spot_loads"):
        for power in powers(row):
            yield load(feeder, row["node"] + suffix(power.phases), row["node"], row["model"], power)


def distributed_loads(feeder: Feeder) -> Iterator[Element]:
    for row in feeder.table("distributed_loads"):
        ends = row["node_a"], row["node_b"]
        for phases, kw, kvar in powers(row):
            for bus in ends:
                name = f"{'_'.join(ends)}{suffix(phases)}_at_{bus}"
                yield load(feeder, name, bus, row["model"], Power(phases, kw / 2, kvar / 2))


def capacitors(feeder: Feeder) -> Iterator[Element]:
    for row in feeder.table("capacitors"):
        bus, kvars = row["node"], {phase: float(row[f"kvar_{phase}"]) for phase in PHASES}
        phases = "".join(phase for phase, kvar in kvars.items() if kvar)
        settings = {
            "phases": len(phases),
            "bus1": terminal(bus, phases),
            "conn": "wye",
            "kv": feeder.kv(bus) / (sqrt(3) if len(phases) == 1 else 1),
            "kvar": sum(kvars.values()),
        }
        yield element(f"Capacitor.{bus}{suffix(phases)}", settings)


SECTIONS: dict[str, Callable[[Feeder], Iterable[Element]]] = {
    "Source": source,
    "Line codes: ohm and nF per mile": line_codes,
    "Transformer": transformers,
    "Regulators: all but ideal, tap 1 + 0.00625 for each step": regulators,
    "Regulator controls": regulator_controls,
    "Lines": lines,
    "Switches": switches,
    "Spot loads: model 1 is constant power, 2 constant impedance, 5 constant current": spot_loads,
    "Distributed loads, half at each end": distributed_loads,
    "Capacitors": capacitors,
}


def section(title: str, elements: list[Element]) -> str:
    return "\n".join([f"\n! {title}", *aligned(elements)]) + "\n" if elements else ""


def aligned(elements: list[Element]) -> Iterator[str]:
    """The elements as lines of text, column under column."""
    widths = [max(map(len, column)) for column in zip(*elements, strict=True)]
    for cells in elements:
        yield " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def script(feeder: Feeder) -> str:
    """The feeder as an OpenDSS script."""
    bases = text(tuple(sorted({feeder.base_kv, feeder.kv(feeder.low_buses[0])}, reverse=True)))
    return "".join(
        [
            HEADER.format_map(feeder._asdict()),
            f"\nClear\nSet DefaultBaseFrequency={HERTZ}\n",
            *(section(title, list(elements(feeder))) for title, elements in SECTIONS.items()),
            f"\nSet VoltageBases={bases}\nCalcVoltageBases\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the IEEE test feeders as OpenDSS scripts.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="where to write (%(default)s)")
    folder: Path = parser.parse_args().folder
    for feeder in FEEDERS:
        path = folder / feeder.name / f"{feeder.name}.dss"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(feeder), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
