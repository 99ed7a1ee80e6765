"""The report in a real browser: the charts are drawn, nothing is asked of the network, nothing is wrong."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from derloop.contract import Interface, Port
from derloop.report.page import write_report
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder
from derloop.verdict import Verdict

FloatArray = NDArray[np.float64]
MINUTE_NS = 60_000_000_000
HOSTILE = "<script>alert(1)</script>"

chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(chromium is None, reason="no chromium here: apt-get install chromium")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
]


def names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{i + 1}" for i in range(count))


NODES = tuple(
    f"{bus}.{phase}" for bus in (650, 632, 633, 634, 645, 646, 671, 684, 675, 692, 611) for phase in (1, 2, 3)
)


def interfaces(step_ns: int) -> dict[str, Interface]:
    def gives(**ports: tuple[str, tuple[str, ...]]) -> Interface:
        return Interface(step_ns, outputs={name.replace("__", "."): Port(*port) for name, port in ports.items()})

    homes, batteries, panels = names("home", 60), names("battery", 20), (*names("pv", 39), f"pv {HOSTILE}")
    return {
        "grid": gives(
            v_pu=("pu", NODES),
            head_kw=("kW", ("head",)),
            head_kvar=("kvar", ("head",)),
            losses_kw=("kW", ("feeder",)),
            taps=("1", ("reg1", "reg2", "reg3")),
            pv__v_pu=("pu", panels),
        ),
        "homes": gives(p_kw=("kW", homes), q_kvar=("kvar", homes)),
        "pv": gives(p_kw=("kW", panels), q_kvar=("kvar", panels), p_available_kw=("kW", panels)),
        "battery": gives(p_kw=("kW", batteries), q_kvar=("kvar", batteries), soc_pu=("pu", batteries)),
        "vpp": gives(battery__p_set_kw=("kW", batteries), limit_kw=("kW", ("vpp",)), baseline_kw=("kW", ("vpp",))),
        "loop@grid": gives(passes=("1", ("passes",)), residual=("1", ("residual",))),
    }


def day(hours: FloatArray, rng: np.random.Generator) -> dict[str, dict[str, FloatArray]]:
    """Return for each federate and port its values (k, n): made up, but in the shape of a summer day."""
    sun = np.clip(np.sin((hours - 6) / 14 * np.pi), 0, None) * np.where(rng.random(hours.size) > 0.2, 1.0, 0.55)
    demand = 0.5 + 0.25 * np.exp(-(((hours - 8) / 1.5) ** 2)) + 0.5 * np.exp(-(((hours - 19) / 2.2) ** 2))
    homes = 55 * demand[:, None] * rng.uniform(0.7, 1.3, 60)
    available = 6 * sun[:, None] * rng.uniform(0.9, 1.1, 40)
    panels = np.minimum(available, 5.2)
    baseline = homes.sum(axis=1) - panels.sum(axis=1)
    wanted = np.where(baseline > 3000, (baseline - 3000) / 20, 0) - np.where((hours > 10) & (hours < 15), 18.0, 0.0)
    asked = wanted[:, None] * rng.uniform(0.95, 1.05, 20)
    given = np.vstack([asked[:1], asked[:-1]]) * 0.98
    head = baseline - given.sum(axis=1)
    sag = 1.03 - 0.055 * (head / head.max())[:, None] * np.linspace(0.2, 1.25, len(NODES))
    one = np.ones((hours.size, 1))
    return {
        "grid": {
            "v_pu": sag + rng.normal(0, 0.0015, sag.shape),
            "head_kw": head[:, None],
            "head_kvar": 0.3 * head[:, None],
            "losses_kw": 110 * (head[:, None] / 3500) ** 2,
            "taps": np.round(6 + 4 * np.sin(hours[:, None] / 4 + np.arange(3))),
            "pv.v_pu": sag[:, :1] + rng.normal(0, 0.002, (hours.size, 40)),
        },
        "homes": {"p_kw": homes, "q_kvar": 0.25 * homes},
        "pv": {"p_kw": panels, "q_kvar": -0.2 * panels, "p_available_kw": available},
        "battery": {
            "p_kw": given,
            "q_kvar": 0 * given,
            "soc_pu": np.clip(0.5 - np.cumsum(given, axis=0) / 9e3, 0.05, 1),
        },
        "vpp": {"battery.p_set_kw": asked, "limit_kw": 3000 * one, "baseline_kw": baseline[:, None]},
        "loop@grid": {"passes": rng.integers(2, 7, (hours.size, 1)).astype(float), "residual": 1e-7 * one},
    }


def facts() -> dict[str, object]:
    settings = {"at": {"count": 20, "on": "loads"}, "energy_kwh": 13.5, "rated_kva": 25.0, "smart": {"volt_var": None}}
    kinds = {"grid": "opendss", "homes": "load", "pv": "pv", "battery": "battery", "vpp": "vpp"}
    return {
        "name": "quickstart",
        "description": f"A summer day on the IEEE 13 node feeder: rooftop PV, batteries and a control. {HOSTILE}",
        "outcome": "completed",
        "failure": None,
        "start": "2025-07-15T00:00:00-07:00",
        "duration_s": 86400.0,
        "step_s": 60.0,
        "engine": "helics",
        "placement": "together",
        "coupling": {"mode": "converged", "tolerance": 1e-6, "max_passes": 40, "depth": 5},
        "seed": 7,
        "overrides": ["federates.battery.energy_kwh=13.5"],
        "versions": {"derloop": "0.1.0", "helics": "3.6.1", "opendssdirect.py": "0.9.4", "python": "3.11.7"},
        "host": {"name": "bench", "cpus": 2, "system": "Linux"},
        "git_commit": "729bc8ef0ac33a217d554b159295702ca598a831",
        "started": "2026-11-22T12:01:00+00:00",
        "wall_s": 4.21,
        "trust_feeder": False,
        "federates": {n: {"kind": k, "via": "model", "step_s": 60.0, "settings": settings} for n, k in kinds.items()},
        "statistics": {"grid": {"solutions": 5760, "tap_changes": 23}, "battery": {"throughput_kwh": 211.4}},
        "loops": {"loop@grid": {"mean_passes": 3.94, "most_passes": 6}},
        "checks": [
            {"name": "voltage", "kind": "voltage", "settings": {"signal": "grid.v_pu", "min_pu": 0.95, "max_pu": 1.05}},
            {"name": "peak", "kind": "peak", "settings": {"signal": "grid.head_kw", "limit_kw": 3150.0}},
        ],
        "summary": [
            {"label": "Peak without control", "value": 3801.2, "unit": "kW", "text": "at 19:10"},
            {"label": "Peak", "value": 3087.5, "unit": "kW", "text": "at 19:44, 18.8 % less"},
            {"label": "Voltage violations", "value": 12, "unit": "", "text": "node minutes outside range A"},
            {"label": "Energy drawn", "value": 51234.5, "unit": "kWh", "text": "over the head"},
            {"label": "Losses", "value": 1712.2, "unit": "kWh", "text": "3.3 % of what was drawn"},
            {"label": "Modbus exchanges", "value": 8640, "unit": "", "text": "with 2 inverters, none failed"},
        ],
    }


def verdicts() -> list[Verdict]:
    at = 71_040_000_000_000
    return [
        Verdict(
            "voltage", "voltage", "FAIL", "0.025 % of the values are outside 0.95 to 1.05 pu; worst: 0.9469 pu",
            0.9469, 0.95, -0.0031, "pu", "grid.v_pu at '611.3'", at, "ANSI C84.1-2020, table 1, range A",
        ),
        Verdict(
            "peak", "peak", "PASS", "the peak of 3087.5 kW over 900 s does not exceed 3150 kW",
            3087.5, 3150.0, 62.5, "kW", "grid.head_kw at 'head'", at, "scenario",
        ),
        Verdict("batteries follow", "tracking", "INCONCLUSIVE", "no signal 'battery.p_kw' was recorded"),
    ]  # fmt: skip


def record(folder: Path, instants: int = 1440, step_ns: int = MINUTE_NS) -> Path:
    """Write a made-up run to `folder` and return the path of its report."""
    rng = np.random.default_rng(7)
    values = day(np.arange(instants) / 60, rng)
    recorder = Recorder(folder, interfaces(step_ns))
    for k in range(instants):
        for federate, ports in values.items():
            recorder.observe(federate, k * step_ns, {port: found[k] for port, found in ports.items()})
    recorder.close()
    (folder / "run.json").write_text(json.dumps(facts()), encoding="utf-8")
    (folder / "verdicts.json").write_text(json.dumps([asdict(v) for v in verdicts()]), encoding="utf-8")
    write_report(RunFolder(folder), folder / "report.html")
    return folder / "report.html"


def opened_in(profile: Path, report: Path, *also: str) -> tuple[str, str]:
    """Return the page's document after its scripts have run, and what the browser logged."""
    assert chromium is not None
    flags = [*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,2000", *also]
    command = [chromium, *flags, "--dump-dom", report.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return opened_in(tmp_path_factory.mktemp("profile"), record(tmp_path_factory.mktemp("run")))


@needs_browser
def test_every_chart_is_drawn(opened: tuple[str, str]) -> None:
    document, _ = opened
    charts = len(re.findall(r'data-figure="\d+"', document))
    assert charts == 9
    assert len(re.findall(r'<svg class="main-svg"', document)) >= charts + 1
    assert len(re.findall(r'class="js-line"', document)) > 30


@needs_browser
def test_the_browser_finds_nothing_wrong(opened: tuple[str, str]) -> None:
    _, log = opened
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []


@needs_browser
def test_a_hostile_description_and_label_stay_text(opened: tuple[str, str]) -> None:
    document, _ = opened
    assert document.count("<script") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document


@needs_browser
@pytest.mark.parametrize(("instants", "step_ns"), [(40, 50_000_000), (40, 2_000_000), (1, MINUTE_NS), (3, MINUTE_NS)])
def test_the_ticks_of_a_time_axis_are_told_apart(tmp_path: Path, instants: int, step_ns: int) -> None:
    document, _ = opened_in(tmp_path / "profile", record(tmp_path / "run", instants, step_ns))
    axes = re.findall(r'<g class="xaxislayer-above">(.*?)</g></g>', document)
    ticks = [re.findall(r'class="xtick".*?>([\d:.]+)<', axis) for axis in axes]
    assert len(ticks) > 5
    assert all(len(set(each)) == len(each) > 2 for each in ticks)
    assert instants > 1 or "00:00:00" in ticks[0]


PRINTED = """<script>
window.dispatchEvent(new Event("beforeprint"));
window.dispatchEvent(new Event("afterprint"));
</script>"""


@needs_browser
def test_charts_have_their_size_again_after_the_page_was_printed(tmp_path: Path) -> None:
    report = record(tmp_path / "run", 40)
    text = re.sub("<meta http-equiv[^>]*>", "", report.read_text(encoding="utf-8"), count=1)
    report.write_text(text.replace("</body>", PRINTED + "</body>"), encoding="utf-8")
    document, _ = opened_in(tmp_path / "profile", report, "--virtual-time-budget=3000")
    widths = re.findall(r'<svg class="main-svg"[^>]* width="(\d+)"', document)
    assert len(widths) > 9
    assert "680" not in widths, "as wide as on paper"
