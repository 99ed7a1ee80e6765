"""What a step costs by size: devices, nodes, federates, hosts; as curves, pictures and a model.

    python benchmarks/growth.py                     # measures everything (about 5 minutes) and keeps the figures
    python benchmarks/growth.py --only nodes        # one sweep; the figures of the others stay as they are
    python benchmarks/growth.py --plot              # draws the pictures of the figures that are kept
    python benchmarks/growth.py --page              # writes the tables of the page on growth

Each point is a whole run in a process of its own, everything recorded. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from growing import figures  # noqa: E402
from growing.arrays import pass_ms  # noqa: E402
from growing.points import Cost, Measured  # noqa: E402
from growing.sweeps import planned  # noqa: E402
from kept import facts  # noqa: E402
from rich.console import Console  # noqa: E402

HEAD = "A step, ms: processor; of it feeder, fleets; wall clock 10 %, median, 99 %; memory MB"
SWEEPS = ("devices", "arrays", "nodes", "federates", "many", "cores", "beside", "hosts")
ARRAYS = (1_000, 3_000, 10_000, 30_000, 100_000)
HOSTS = [(hosts, delay_ms) for delay_ms in (0.0, 5.0) for hosts in (1, 2, 3, 4)]


def measured(sweeps: Sequence[str], console: Console) -> Iterator[Measured]:
    """Measure the sweeps, point by point."""
    for plan in planned():
        if plan.sweep in sweeps:
            with console.status(f"{plan.sweep}: {plan.line}, {plan.point}"):
                yield plan.measured()
    if "arrays" in sweeps:
        yield from (
            Measured("arrays", "numpy", size, Cost(least_ms=(ms := pass_ms(size)), median_ms=ms, cpu_ms=ms))
            for size in ARRAYS
        )
    if "hosts" in sweeps:
        yield from _hosts(console)


def _hosts(console: Console) -> Iterator[Measured]:
    """Measure stars over hosts (`hosts.py`), where machines can be made."""
    import hosts
    from namespaces import reason_to_skip

    if (why := reason_to_skip()) is not None:
        console.print(f"no hosts: {why}")
        return
    with TemporaryDirectory() as made:
        environment = hosts.installed(Path(made))
        for number, (count, delay_ms) in enumerate(HOSTS):
            (folder := Path(made) / str(number)).mkdir()
            with console.status(f"hosts: {count}, {delay_ms:g} ms"):
                least_ms, median_ms = hosts.measured(folder, count, delay_ms, environment)
            yield Measured("hosts", f"{delay_ms:g} ms", count, Cost(least_ms, median_ms))


def line(each: Measured) -> str:
    """Return a point as a line of the terminal."""
    cost, what = each.cost, f"{each.sweep:<10}{each.line:<20}{each.x:>8g}"
    times = (cost.cpu_ms, cost.feeder_ms, cost.fleets_ms, cost.least_ms, cost.median_ms, cost.slow_ms)
    return what + "".join(f"{ms:>9.3g}" if ms else " " * 9 for ms in times) + f"{cost.memory_mb:>8.0f}"


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SWEEPS, help="this sweep; may be repeated")
    parser.add_argument("--plot", action="store_true", help="draw the kept figures, and measure nothing")
    parser.add_argument("--page", action="store_true", help="write the kept figures' tables, and measure nothing")
    return parser.parse_args()


def main() -> None:
    asked, console = _asked(), Console(width=140)
    if not (asked.plot or asked.page):
        before, found = facts(), []
        print(HEAD)
        for each in measured(asked.only or SWEEPS, console):
            found.append(each)
            print(line(each), flush=True)
        figures.keep(found, {**before, "load_average_after": os.getloadavg()})
        console.print(f"kept as {figures.FILE}")
    if asked.plot:
        from growing.pictures import draw

        console.print(*draw(figures.read()), sep="\n")
    if asked.page:
        from growing.page import write

        console.print(write(figures.read()))


if __name__ == "__main__":
    main()
