"""One run in a fresh process, for its start: `python startup.py SCENARIO ENGINE PLACEMENT OVERRIDE...`.

Prints as JSON the monotonic clock at the first step, and which modules were imported by then. With `--imports FILE`
nothing is run: the modules that FILE lists are imported, and the clock is printed when that is done.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import perf_counter


class Only:
    """Lets nothing be imported but what is named: some packages try what happens to be installed, such as pandas."""

    def __init__(self, names: list[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, name: str, *_: object) -> None:
        if name not in self._names:
            raise ModuleNotFoundError(name)


def imported(names: list[str]) -> None:
    """Import these and nothing else."""
    sys.meta_path.insert(0, Only(names))  # type: ignore[arg-type]
    for name in names:
        with suppress(ImportError):  # some are made by their packages, and imported with them
            import_module(name)
    print(json.dumps({"imported_s": perf_counter()}))


def started(scenario: str, engine: str, placement: str, overrides: list[str]) -> None:
    """Run it; what `on_progress` meets first is the moment before the federates are started."""
    running, before = import_module("derloop.running"), list[str]()

    def note(*_: object) -> None:
        before[:] = before or [*sys.modules]

    with tempfile.TemporaryDirectory() as folder:
        options = running.Options(
            engine=engine, placement=placement, out=Path(folder) / "run", trust_feeder=True, report=False
        )
        result = running.run(Path(scenario), overrides, options, note)
        if result.outcome != "completed":
            raise SystemExit(result.failure)
        print(json.dumps({"first_s": float(result["grid.run_s"][0, 0]), "modules": before}))


def main() -> None:
    if sys.argv[1] == "--imports":
        imported(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    else:
        scenario, engine, placement, *overrides = sys.argv[1:]
        started(scenario, engine, placement, overrides)


if __name__ == "__main__":
    main()
