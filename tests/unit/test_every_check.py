"""Every kind of check has a run that passes it, one that fails it and one that it cannot judge, and says what it found.

A kind that comes without these is noticed by the last test.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged import Memory

from derloop import plugins
from derloop.checks import judge_all
from derloop.contract import Interface, Port
from derloop.results.recorder import Recorder
from derloop.scenario.loading import typed
from derloop.verdict import CheckKind, Verdict

RISE = np.arange(60.0)
SIGNAL = np.tile([0.0, 10.0, 10.0, 0.0, -10.0, -10.0], 60)
STEP = np.where(RISE < 10, 0.0, 10.0)
PART = {"kind": "stays-within", "signal": "a.x", "max": 1}


def of(unit: str, step_s: float = 1.0) -> Callable[[Any], Memory]:
    """Return what makes a run in memory of a.x (n,), in `unit`."""
    return lambda values: Memory().add("a.x", unit, step_s, values)


def beside(values: Any) -> Memory:
    """Return a run of a.x beside the reference b.x, in steps of 10 s."""
    return Memory().add("a.x", "kW", 10, values).add("b.x", "kW", 10, SIGNAL)


def both(values: Any) -> Memory:
    return Memory().add("a.x", "kW", 1, values).add("b.x", "kW", 1, RISE)


def curve(values: Any) -> Memory:
    return Memory().add("a.x", "kvar", 1, values).add("b.x", "pu", 1, np.full(60, 1.08))


XY = {"signal": "a.x", "reference": "b.x"}
CASES: dict[str, tuple[dict[str, Any], Callable[[Any], Memory], Any, Any]] = {
    "stays-within": ({"signal": "a.x", "max": 60}, of("kW"), RISE, 2 * RISE),
    "voltage": ({"signal": "a.x"}, of("pu"), [1.0, 1.049], [1.0, 1.051]),
    "peak": ({"signal": "a.x", "limit_kw": 60, "window_s": 10}, of("kW"), RISE, 2 * RISE),
    "tracking": ({**XY, "tolerance_pu": 0.1, "rated": 10}, beside, SIGNAL + 0.5, SIGNAL + 2),
    "pjm-score": ({**XY, "latency_s": 0}, beside, SIGNAL, -SIGNAL),
    "loading": ({"signal": "a.x"}, of("pu"), [0.5, 1.0], [0.5, 1.1]),
    "frequency": ({"signal": "a.x"}, of("Hz"), [60.0, 61.0], [60.0, 61.3]),
    "ramp-rate": ({"signal": "a.x", "up_per_min": 61}, of("kW"), RISE, 2 * RISE),
    "follows-curve": (
        {"x": "b.x", "y": "a.x", "curve": {"volt_var": "category-b"}, "rated": 10},
        curve,
        np.full(60, -4.4),
        np.zeros(60),
    ),
    "responds-within": ({"signal": "a.x", "at_s": 10, "within_s": 5}, of("kvar"), STEP, np.minimum(RISE, 30)),
    "settles": ({"signal": "a.x", "at_s": 10, "within_s": 5, "band": 1}, of("kvar"), STEP, np.minimum(RISE, 30)),
    "does-not-hunt": ({"signal": "a.x", "amplitude": 1}, of("kvar"), RISE, SIGNAL),
    "never-both": (
        {"first": {"signal": "a.x", "below": -1}, "second": {"signal": "b.x", "above": 1}},
        both,
        RISE,
        -RISE,
    ),
    "energy": ({"signal": "a.x", "max_kwh": 60}, of("kW", 60), RISE, 5 * RISE),
    "ends-within": ({"signal": "a.x", "max": 60}, of("USD"), RISE, 2 * RISE),
    "compared": ({"signal": "a.x", "against": "other", "reduction": 0.1}, of("kW", 60), 0.5 * RISE, RISE),
    "all-of": ({"of": [PART, {**PART, "max": 2}]}, of("kW"), [0.5], [1.5]),
    "any-of": ({"of": [PART, {**PART, "max": 2}]}, of("kW"), [1.5], [2.5]),
    "none-of": ({"of": [PART, {**PART, "max": 2}]}, of("kW"), [2.5], [1.5]),
}
"""Of each kind: settings, what makes a run of a.x, and values that pass and fail."""
UNTIMED = {("never-both", "PASS"), ("does-not-hunt", "PASS")}
"""Where nothing happened there is no instant at which it was worst."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scenario's folder with another run in it."""
    folder = tmp_path_factory.mktemp("scenarios")
    recorder = Recorder(folder / "other", {"a": Interface(60 * 10**9, outputs={"x": Port("kW", ("e1",))})})
    for minute, value in enumerate(RISE):
        recorder.observe("a", minute * 60 * 10**9, {"x": np.array([value])})
    recorder.close()
    return folder


def judged(kind: str, recorded: Memory, folder: Path) -> Verdict:
    """Return the verdict of a check that stands in a scenario, which is read as any is."""
    data = {"name": "x", "start": "2025-07-15T00:00:00Z", "duration_s": 3600, "step_s": 1}
    check = {"kind": kind, "name": "it", **CASES[kind][0]}
    federates = {"gas": {"kind": "frequency", "trace": 60}}
    return judge_all(typed({**data, "federates": federates, "checks": [check]}, folder / "x.json").checks, recorded)[0]


@pytest.mark.parametrize("kind", CASES)
def test_it_passes_a_run_that_is_right_and_fails_one_that_is_wrong_and_says_what_it_measured(
    kind: str, folder: Path
) -> None:
    _, made, right, wrong = CASES[kind]
    for outcome, values in (("PASS", right), ("FAIL", wrong)):
        found = judged(kind, made(values), folder)
        assert (found.outcome, found.check, found.kind) == (outcome, "it", kind), found.text
        assert found.measured is not None
        assert found.limit is not None
        assert found.margin is not None
        assert (found.margin >= 0) == (outcome == "PASS")
        assert found.unit
        assert found.where.startswith("a.x")
        assert found.source
        assert found.when_ns is not None or (kind, outcome) in UNTIMED
        assert found.text[0] != " "
        assert "nan" not in found.text


@pytest.mark.parametrize("kind", CASES)
def test_it_concludes_nothing_from_a_run_without_its_signal_or_with_too_few_values(kind: str, folder: Path) -> None:
    _, made, right, _ = CASES[kind]
    for recorded in (Memory(), made(np.asarray(right)[:0])):
        found = judged(kind, recorded, folder)
        assert (found.outcome, found.measured) == ("INCONCLUSIVE", None), found.text
        assert found.text


def test_no_kind_of_check_comes_without_these() -> None:
    shipped = {p.name for p in distribution("derloop").entry_points if p.group == plugins.CHECKS}
    assert shipped == CASES.keys()
    assert all(isinstance(plugins.check_kind(k), CheckKind) == (not k.endswith("-of")) for k in shipped)
