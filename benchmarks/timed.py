"""Runs of derloop whose feeder has a clock: the kind `timed-opendss` of `plugin/`.

To be imported before what looks for plug-ins, or imports `derloop_bench`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

PLUGIN = str(Path(__file__).resolve().parent / "plugin")
sys.path.insert(0, PLUGIN)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (PLUGIN, os.environ.get("PYTHONPATH"))))  # for child processes

from derloop_bench import BLOCK, CALL, FIRST, LEAST, TRACE, BareLoop, Trace  # noqa: E402

from derloop.options import Options  # noqa: E402
from derloop.result import Result  # noqa: E402
from derloop.running import run  # noqa: E402

__all__ = ["BLOCK", "CALL", "FIRST", "LEAST", "TRACE", "BareLoop", "Trace", "timed"]


def timed(scenario: Path, overrides: Sequence[str], engine: str, placement: str, folder: Path) -> Result:
    """Run it with everything recorded, without a report; end the program where the run does not complete."""
    options = Options(engine=engine, placement=placement, out=folder, trust_feeder=True, report=False)
    result = run(scenario, overrides, options)
    if result.outcome != "completed":
        raise SystemExit(f"{scenario.stem} under {engine}, {placement}: {result.failure}")
    return result
