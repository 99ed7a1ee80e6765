"""How a paced run kept time, from what was recorded: literal numbers in, literal numbers out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import Mixer, S, ports, wire

from derloop.checks import judge_all
from derloop.checks.stale import stale
from derloop.checks.stays_within import KIND, StaysWithin
from derloop.checks.unproven import unproven
from derloop.contract import FloatArray
from derloop.federation import Federation
from derloop.pacing import Pacing
from derloop.report.pace import kept_time
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder
from derloop.results.timing import timing, way_back_ns
from derloop.results.turns import ages, turns
from derloop.verdict import CheckEntry, Doubt

INSTANTS = 10


def bench(pacing: Pacing, tells_age: bool = True) -> Federation:
    """Return equipment `device` and a control `vpp` around it, and a `sky` that nobody reaches; a step is 1 s."""
    outputs = {"p": 2, **({"age_s": 2} if tells_age else {})}
    device, vpp, sky = Mixer({"set": 2}, outputs, 1, 1), Mixer({"p": 2}, {"set": 2}, 1, 2), Mixer({}, {"w": 1}, 1, 3)
    device._interface = replace(device.interface, outputs=ports(outputs), repeatable=False, paced=True)
    wires = [wire("vpp.set -> device.set"), wire("device.p -> vpp.p delayed")]
    return Federation({"device": device, "vpp": vpp, "sky": sky}, wires, pacing=pacing)


def recorded(
    folder: Path, federation: Federation, end_s: FloatArray, skipped: FloatArray | None = None, age_s: float = 0.01
) -> RunFolder:
    """Record turns that begin 1 ms late; those of `device` end at `end_s`, all others after 2 ms."""
    recorder = Recorder(folder, federation.recorded([*federation.federates]))
    for k in range(INSTANTS):
        for name, federate in federation.federates.items():
            late_s = end_s[k] if name == "device" else 0.002
            is_skipped = skipped[k] if name == "device" and skipped is not None else 0.0
            values = {port: np.full(spec.size, age_s) for port, spec in federate.interface.outputs.items()}
            recorder.observe(name, k * S, values)
            turn = {"late_s": [0.001, late_s], "step_s": [late_s - 0.001], "skipped": [is_skipped]}
            recorder.observe(f"pace@{name}", k * S, {port: np.array(value) for port, value in turn.items()})
    recorder.close()
    return RunFolder(folder)


def spread(at: dict[int, float], otherwise: float) -> FloatArray:
    found = np.full(INSTANTS, otherwise)
    found[[*at]] = [*at.values()]
    return found


def test_lateness_is_that_of_the_last_unit_of_an_instant(tmp_path: Path) -> None:
    federation = bench(Pacing())
    run = recorded(tmp_path, federation, spread({3: 1.5, 4: 0.6}, otherwise=0.1))
    found = timing(federation, run)
    assert found is not None
    assert (found.instants, found.missed) == (10, 1)
    assert (found.begin_s.p50, found.begin_s.max) == (0.001, 0.001)
    assert (found.end_s.p50, found.end_s.max, found.end_s.max_at_ns) == (0.1, 1.5, 3 * S)
    assert found.end_s.p95 == pytest.approx(0.6 + 0.55 * (1.5 - 0.6)), "between the ninth and the tenth of ten"
    device = found.federates["device"]
    assert (device.step_s.max, device.missed, device.skipped) == (1.499, 1, 0)
    assert (found.federates["sky"].step_s.max, found.federates["sky"].missed) == (0.001, 0)
    assert device.age_s is not None
    assert device.age_s.max == 0.01
    assert found.federates["vpp"].age_s is None


def test_the_delay_of_a_loop_is_age_way_back_and_the_turn_that_commands(tmp_path: Path) -> None:
    federation = bench(Pacing())
    found = timing(federation, recorded(tmp_path, federation, spread({5: 0.4}, otherwise=0.1)))
    assert found is not None
    delay_s = found.federates["device"].delay_s
    assert delay_s is not None
    assert delay_s.p50 == pytest.approx(0.01 + 1.0)
    assert (delay_s.max, delay_s.max_at_ns) == (pytest.approx(0.01 + 1.0 + 0.3), 5 * S)


def test_the_way_back_takes_a_step_for_each_delayed_wire() -> None:
    federation = bench(Pacing())
    assert [way_back_ns(federation, name) for name in ("device", "vpp", "sky")] == [S, S, None]


def test_late_instants_and_skipped_ones_are_doubted_for_as_long_as_they_last(tmp_path: Path) -> None:
    federation = bench(Pacing(overrun="skip"))
    run = recorded(tmp_path, federation, spread({2: 3.5, 3: 2.5, 8: 0.2}, 0.1), spread({3: 1, 4: 1, 7: 1}, 0))
    late, first, second = stale(federation, run)
    assert late.why == "device from 00:00:02 to 00:00:03: ended up to 3.5 s after its instant was due, 1 s are allowed"
    assert (late.since_ns, late.until_ns, late.federates) == (2 * S, 5 * S, ("device", "vpp"))
    assert first.why == "device from 00:00:03 to 00:00:04: missed and skipped 2 of its instants"
    assert second.why == "device at 00:00:07: missed and skipped 1 of its instants"


def test_with_a_greatest_age_what_was_skipped_is_judged_by_it(tmp_path: Path) -> None:
    federation = bench(Pacing(overrun="skip", max_age_s=0.02))
    run = recorded(tmp_path, federation, spread({}, 0.1), spread({3: 1}, 0))
    assert stale(federation, run) == []
    older = bench(Pacing(overrun="skip", max_age_s=0.005))
    (doubt,) = stale(older, run)
    text = "device from 00:00:00 to 00:00:09: measurements up to 0.01 s (at 'age_s_0') old, max_age_s is 0.005"
    assert doubt.why == text


def test_what_equipment_did_not_do_as_it_was_told_is_doubted(tmp_path: Path) -> None:
    federation = bench(Pacing())
    device = federation.federates["device"]
    shown = ports({"p": 2, "unproven": 2})
    device._interface = replace(device.interface, outputs=shown)  # type: ignore[attr-defined]
    federation = Federation(federation.federates, federation.wires, pacing=Pacing())
    recorder = Recorder(tmp_path, federation.recorded([*federation.federates]))
    for k in range(INSTANTS):
        second = float(k in (3, 4))
        recorder.observe("device", k * S, {"p": np.zeros(2), "unproven": np.array([0.0, second])})
    recorder.close()
    (doubt,) = unproven(federation, RunFolder(tmp_path))
    assert doubt.why == "device from 00:00:03 to 00:00:04: what was commanded does not show at 'unproven_1'"
    assert (doubt.since_ns, doubt.until_ns, doubt.federates) == (3 * S, 6 * S, ("device", "vpp"))


def test_equipment_that_tells_of_no_device_how_old_or_proven_it_is_can_be_judged(tmp_path: Path) -> None:
    pacing = Pacing(overrun="skip", max_age_s=0.02)
    federation = bench(pacing)
    device = federation.federates["device"]
    shown = ports({"p": 2, "age_s": 0, "unproven": 0})
    device._interface = replace(device.interface, outputs=shown)  # type: ignore[attr-defined]
    federation = Federation(federation.federates, federation.wires, pacing=pacing)
    run = recorded(tmp_path, federation, spread({}, 0.01))
    assert [*unproven(federation, run), *stale(federation, run)] == []
    assert timing(federation, run) is not None


def test_equipment_that_tells_no_age_has_measured_when_its_last_step_began(tmp_path: Path) -> None:
    federation = bench(Pacing(overrun="skip"), tells_age=False)
    run = recorded(tmp_path, federation, spread({3: 0.003, 4: 0.003}, 0.1), spread({3: 1, 4: 1}, 0))
    of = next(found for found in turns(federation, run) if found.unit.name == "device")
    found = ages(federation, run, of, "device")
    assert found.labels == ("device",)
    assert found.age_s[:6, 0] == pytest.approx([0.099, 0.099, 0.099, 1.002, 2.002, 0.099])


@pytest.mark.parametrize(
    ("window", "outcome"),
    [({}, "INCONCLUSIVE"), ({"to_s": 2}, "PASS"), ({"from_s": 5}, "PASS"), ({"from_s": 4, "to_s": 6}, "INCONCLUSIVE")],
)
def test_a_doubt_touches_those_who_judge_its_time(tmp_path: Path, window: dict[str, float], outcome: str) -> None:
    federation = bench(Pacing())
    run = recorded(tmp_path, federation, spread({}, 0.1))
    check = CheckEntry("steady", KIND, StaysWithin(signal="device.p", max=1.0, **window))
    (verdict,) = judge_all([check], run, "", [Doubt("late", 2 * S, ("device",), 5 * S)])
    assert verdict.outcome == outcome


def test_a_verdict_names_three_reasons_and_counts_the_others(tmp_path: Path) -> None:
    federation = bench(Pacing())
    run = recorded(tmp_path, federation, spread({}, 0.1))
    doubts = [Doubt(f"reason {i}", i * S, ("device",), (i + 1) * S) for i in range(6)]
    check = CheckEntry("steady", KIND, StaysWithin(signal="device.p", max=1.0))
    (verdict,) = judge_all([check], run, "", doubts)
    assert verdict.text.startswith("reason 0; reason 1; reason 2; and 3 more. With that: all values are at most 1;")


@pytest.mark.parametrize("said", [None, [], {"missed": "<b>"}, {"end_s": {"p50": 1}}, {"federates": {"a": 1}}])
def test_a_page_bears_a_timing_that_is_no_timing(said: object) -> None:
    found = kept_time({"timing": said})
    assert found is None or found.rows == []
