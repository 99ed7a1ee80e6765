"""One run in a fresh process, for its start: `python startup.py SCENARIO ENGINE PLACEMENT OVERRIDE...`.

Prints as JSON the monotonic clock when the imports were done, when the scenario was assembled, and at the first step.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from time import perf_counter


def main() -> None:
    scenario, engine, placement, *overrides = sys.argv[1:]
    running = import_module("derloop.running")
    import_module(f"derloop.engines.{engine}")
    imported_s = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = running.Options(engine=engine, placement=placement, out=Path(folder) / "run", report=False)
        result = running.run(Path(scenario), overrides, options)
        if result.outcome != "completed":
            raise SystemExit(result.failure)
        print(json.dumps({"imported_s": imported_s, "first_s": float(result["grid.run_s"][0, 0])}))


if __name__ == "__main__":
    main()
