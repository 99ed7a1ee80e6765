"""Hardware tests: one of each for every device of the bench file that `--bench` names.

    pytest tests/bench -m bench --bench lab.json --arm inv-1

What is not armed is only read, and tests that would write to it are skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hil.bench.file import Bench
    from hil.bench.session import Session
    from hil.inverter.commands import Commands
    from hil.inverter.measurements import Measurements
    from hil.modbus.thread import LoopThread

STEP_S = 0.5
Command = Callable[["Commands", float], "Measurements"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", _names(metafunc.config.getoption("--bench")))


def _names(path: Path | None) -> list[object]:
    if path is None:
        return [pytest.param("none", marks=pytest.mark.skip("no bench: --bench FILE says what equipment there is"))]
    from hil.bench.file import read_bench

    return [*read_bench(path).names]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    from hil.bench.file import read_bench

    return read_bench(request.config.getoption("--bench"))


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    from hil.modbus.thread import LoopThread

    made = LoopThread("hardware test")
    yield made
    made.close()


@pytest.fixture
def session(
    request: pytest.FixtureRequest, bench: Bench, device: str, thread: LoopThread, tmp_path: Path
) -> Iterator[Session]:
    """The armed device, recorded, and restored at the end whatever a test does."""
    from hil.bench.session import Session
    from hil.safety.folder import Run

    if device not in request.config.getoption("--arm"):
        pytest.skip(f"{device} is not armed: --arm {device}")
    made = thread.run(_built(Session, bench, device, Run(tmp_path, bench.path)))
    try:
        thread.run(made.open())
        yield made
    finally:
        thread.run(made.close())


async def _built(kind: type[Session], bench: Bench, device: str, run: object) -> Session:
    return kind(bench, [device], [device], run)  # type: ignore[arg-type]


@pytest.fixture
def command(session: Session, thread: LoopThread) -> Command:
    """Return what commands the device for some seconds, as a run does, and returns what it measured last."""

    def hold(commands: Commands, seconds: float) -> Measurements:
        end = time.monotonic() + seconds
        while True:
            thread.run(session.exchange(commands, time.monotonic(), STEP_S))
            if time.monotonic() > end:
                return session.measured()
            time.sleep(STEP_S)

    return hold
