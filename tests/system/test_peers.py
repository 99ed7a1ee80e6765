"""What derloop is compared with does the same work. How long either takes is nobody's test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def comparisons(*words: str) -> list[dict[str, Any]]:
    """Run one of the benchmarks for one round; return what it has kept."""
    program, *options = words
    command = [sys.executable, str(BENCHMARKS / program), *options, "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = re.search(r"kept as (\S+\.json)", done.stdout)
    assert kept, done.stdout
    found: list[dict[str, Any]] = json.loads(Path(kept[1]).read_text(encoding="utf-8"))["comparisons"]
    Path(kept[1]).unlink()
    return found


def test_a_federation_of_processes_that_act_in_turn_has_the_voltages_of_the_run() -> None:
    at_once, in_turn = comparisons("naive.py", "--devices", "10", "--steps", "60")
    assert in_turn["v_apart_pu"] < 5e-7  # both are solved to 1e-6, from other beginnings
    assert 5e-6 < at_once["v_apart_pu"] < 1e-3  # of a second ago


def test_invcontrol_to_its_curve_has_the_voltages_of_the_run() -> None:
    tight, default = comparisons("invcontrol.py", "--devices", "20", "--step-s", "3600")
    assert tight["v_apart_pu"] < 1e-6
    its, own = default["nearness"]
    assert own["most_pu"] < its["most_pu"]
