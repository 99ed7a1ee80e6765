"""Runs in real time over machines whose clocks have nothing in common: hosts in time namespaces."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from real_runs import PLUGIN, counters
from spread import Spread, spread

import derloop
from derloop import plugins
from derloop.results.compare import compare

AHEAD_S = {"feeder": 86_400, "fleets": 7_200}
HOSTS = {"feeder": ["b"], "fleets": ["c"]}
SPEED = 10
STEPS = 30
ON_TIME_S = 20.0
"""Long for a busy machine, and nothing beside what the clocks are apart."""


def reason_to_skip() -> str | None:
    """Return why no machine can have a clock of its own here; None where it can."""
    if shutil.which("unshare") is None:
        return "time namespaces need util-linux's unshare"
    made = subprocess.run(["unshare", "--time", "--monotonic", "1", "true"], capture_output=True, text=True)
    return f"time namespaces cannot be made: {made.stderr.strip()}" if made.returncode else None


class OtherTimes:
    """This machine as all machines, whose monotonic clocks are hours apart."""

    addresses: ClassVar = {"run": "127.0.0.1"}

    def inside(self, name: str) -> list[str]:
        return ["unshare", "--time", "--monotonic", str(AHEAD_S[name])] if name in AHEAD_S else []


WHY_NOT = reason_to_skip()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def paced(**pacing: Any) -> dict[str, Any]:
    """Three federates in a row, the last of which acts within the instant, each on a machine of its own."""
    federates = {"a": {}, "b": {"reads": "a"}, "c": {"reads": "b", "arrival": "now"}}
    scenario = {**counters(STEPS, **federates), "deadlines": {"join_s": 100, "step_s": 100}}
    return {**scenario, "pacing": {"mode": "real-time", "speed": SPEED, "late_s": ON_TIME_S, **pacing}}


def ended(run: Spread) -> list[int]:
    return [machine.wait() for machine in run.all]


def test_hosts_whose_clocks_are_hours_apart_keep_time_together_and_give_what_one_process_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spread(tmp_path, paced(), HOSTS, OtherTimes(), silence_s=60) as run:
        assert ended(run) == [0, 0, 0], [machine.said() for machine in run.all]
        found = run.results
    late_s = {name: found.read(f"pace@{name}.late_s")[1] for name in "abc"}
    assert all((late >= 0).all() and late.max() < ON_TIME_S for late in late_s.values()), late_s
    assert found.run["wall_s"] >= (STEPS - 1) / SPEED
    assert all(0 <= found.run["hosts"][name]["clock_within_s"] < 1.0 for name in HOSTS)
    monkeypatch.syspath_prepend(str(PLUGIN))
    plugins._offered.cache_clear()
    alone = derloop.run(
        tmp_path / "scenario.json", ["pacing.mode=off"], engine="local", out=tmp_path / "alone", report=False
    )
    plugins._offered.cache_clear()
    same = compare(alone.folder, found)
    assert same.same, str(same)
