"""The model of cost behind the page on growth: what it is fitted to, what it predicts, and that the page says it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def figures(*found: Any) -> dict[str, Any]:
    """Return figures as they are kept."""
    sweeps = dict.fromkeys(each.sweep for each in found)
    return {sweep: {"points": [asdict(each) for each in found if each.sweep == sweep]} for sweep in sweeps}


def feeder(sweep: str, nodes: int, devices: int, fleets: int = 1) -> Any:
    """Return a point that costs 0.5 ms, 0.3 us a node and iteration, 0.2 us a device, 0.1 us more, 0.25 ms a fleet."""
    from growing.points import Cost, Measured, Point

    ms = 0.5 + 0.3e-3 * nodes * 2 + 0.2e-3 * devices + 0.1e-3 * max(0, devices - 10_000) + 0.25 * (fleets - 1)
    mb, s = 100 + 0.01 * nodes + 0.002 * devices, 1 + 1e-4 * nodes + 1e-5 * devices
    cost = Cost(ms, ms, 2 * ms, ms, nodes=nodes, iterations=2.0, memory_mb=mb, starting_s=s)
    line = "fleets, together" if sweep == "federates" else ""
    return Measured(sweep, line, 0, cost, Point("rooftops", 1, federates=fleets + 2, devices=devices))


def several(feeders: int) -> Any:
    """Return a point of feeders as above in one process and thread: each beyond the first takes 3 MB and 0.02 s."""
    from growing.points import Cost, Measured, Point

    nodes, devices = 1_000 * feeders, 200 * feeders
    mb, s = (
        100 + 3 * (feeders - 1) + 0.01 * nodes + 0.002 * devices,
        1 + 0.02 * (feeders - 1) + 1e-4 * nodes + 1e-5 * devices,
    )
    point = Point("several", 1, "together", feeder=1_000, devices=200, feeders=feeders)
    return Measured("many", "one process", feeders, Cost(1.0, 1.0, memory_mb=mb, starting_s=s), point)


def star(processes: int) -> Any:
    """Return a point of which each process costs 0.4 ms, 0.05 of them where turns are given, and each crossing 0.2."""
    from growing.points import Cost, Measured

    ms = 0.4 * processes + 2 * 0.2
    return Measured("federates", "star, apart", processes, Cost(ms, ms, hub_ms=1 + 0.05 * processes))


def over_hosts(hosts: int, delay_ms: float) -> Any:
    """Return a point of the same costs; each host takes 0.15 ms besides, and each crossing the delay and 0.3 ms."""
    from growing.points import Cost, Measured

    ms = 0.4 * (hosts + 1) + 0.15 * hosts + 2 * (0.2 + 0.3 + delay_ms)
    return Measured("hosts", f"{delay_ms:g} ms", hosts, Cost(ms, ms))


def beside(processes: int, ms: float) -> Any:
    from growing.points import Cost, Measured

    return Measured("beside", "", processes, Cost(ms, ms, cpu_ms=ms))


def made() -> dict[str, Any]:
    sizes = [feeder("devices", 1_000, devices) for devices in (10, 1_000, 10_000, 100_000)]
    nodes = [feeder("nodes", nodes, 100) for nodes in (30, 1_000, 10_000)]
    fleets = [feeder("federates", 1_000, 1_000, fleets) for fleets in (1, 8, 48)]
    between = [*map(star, (2, 10, 50)), over_hosts(1, 0.0), over_hosts(4, 0.0), over_hosts(2, 5.0)]
    return figures(*sizes, *nodes, *fleets, several(3), several(30), *between, beside(1, 10.0), beside(2, 12.0))


def test_coefficients_of_exact_points_are_found_again() -> None:
    from growing.model import fitted, residuals

    model = fitted(made())
    assert model.step_ms == pytest.approx(0.5, rel=1e-6)
    assert model.node_us == pytest.approx(0.3, rel=1e-6)
    assert model.device_us == pytest.approx(0.2, rel=1e-6)
    assert model.device_more_us == pytest.approx(0.1, rel=1e-6)
    assert model.fleet_ms == pytest.approx(0.25, rel=1e-6)
    assert (model.process_ms, model.crossing_ms) == pytest.approx((0.4, 0.2), rel=1e-6)
    assert (model.host_ms, model.network_ms) == pytest.approx((0.15, 0.3), rel=1e-6)
    assert model.hub_ms == pytest.approx(0.05, rel=1e-6)
    assert (model.crowded, model.slow) == pytest.approx((1.2, 2.0))
    assert model.memory_mb == pytest.approx([100, 3, 0.01, 0.002], rel=1e-6)
    assert model.starting_s == pytest.approx([1, 0.02, 1e-4, 1e-5], rel=1e-6)
    assert max(abs(each.relative) for each in residuals(made(), model)) < 1e-6


def test_a_coefficient_is_nothing_rather_than_negative() -> None:
    from growing.model import _solved

    found = _solved([np.array([1.0, x]) for x in (1.0, 2.0, 3.0)], [3.0, 2.0, 1.0])
    assert found[1] == 0.0
    assert found[0] == pytest.approx((1 / 3 + 1 / 2 + 1) / (1 / 9 + 1 / 4 + 1))  # of relative errors


def test_a_study_takes_what_its_formula_says() -> None:
    from growing.model import fitted
    from growing.prediction import Study, predicted

    study = Study(feeders=1_000, nodes=1_000, devices=1_000, hosts=4, cores=5, delay_ms=0.1)
    found = predicted(fitted(made()), study)
    # 50 feeders a core of 0.5 + 0.6 + 0.2 ms, and 0.1 more as their devices are not kept in the cache; 1.2 as all work.
    assert found.work_ms == pytest.approx(1.2 * 50 * 1.4)
    assert found.exchange_ms == pytest.approx(5 * 0.05 + 4 * 0.15 + 2 * (0.2 + 0.3 + 0.1))
    assert found.most_ms == pytest.approx(2.0 * 84 + 5 * 0.4 + 4 * 0.15 + 1.2)
    # one process has all feeders first: more than five with fifty each
    assert found.memory_gb == pytest.approx((100 + 3 * 999 + 0.01 * 1e6 + 0.002 * 1e6) / 1e3)
    whole_s, share_s = 1 + 0.02 * 999 + 1e-4 * 1e6 + 1e-5 * 1e6, 1 + 0.02 * 49 + 1e-4 * 50_000 + 1e-5 * 50_000
    assert found.starting_s == pytest.approx(whole_s + share_s)
    assert found.day_s == pytest.approx(found.step_ms * 1.44)


def test_a_host_with_many_cores_needs_room_for_all_its_processes() -> None:
    from growing.model import fitted
    from growing.prediction import Study, predicted

    study = Study(feeders=1_000, nodes=1_000, devices=1_000, hosts=1, cores=500)
    found = predicted(fitted(made()), study)
    assert found.memory_gb == pytest.approx(500 * (100 + 3 + 0.01 * 2_000 + 0.002 * 2_000) / 1e3)


def test_one_core_waits_for_nobody() -> None:
    from growing.model import fitted
    from growing.prediction import Study, predicted

    model = fitted(made())
    study = Study(feeders=2, nodes=1_000, devices=1_000, hosts=1, cores=1)
    assert predicted(model, study).step_ms == pytest.approx(2 * 1.3)
    assert predicted(model, replace(study, cores=2)).exchange_ms == pytest.approx(2 * 0.05 + 2 * 0.2)


def test_the_page_has_the_tables_of_the_kept_figures() -> None:
    from growing import page
    from growing.figures import read

    text = page.PAGE.read_text("utf-8")
    assert len(page.PART.findall(text)) == len(page.PARTS)
    assert page.renewed(text, read()) == text
