"""A run and its hosts on one machine: equal results, and who is refused before the start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from own_site import written
from sockets import free_ports
from spread import hosts_file
from typer.testing import CliRunner

import derloop
from derloop import moving, running
from derloop.commands.join import app
from derloop.crews import Crew
from derloop.engines import helics
from derloop.engines.apart import Child
from derloop.engines.worker import Deadlines
from derloop.errors import DerloopError, FederateError, HostError, ScenarioError
from derloop.federation import Unit
from derloop.hosts import copying, gathering, guest, joining, likeness, starting
from derloop.hosts.copying import Source
from derloop.hosts.file import HostSettings
from derloop.hosts.guest import Relayed
from derloop.hosts.joining import Invitation
from derloop.hosts.plan import Plan
from derloop.hosts.starting import Started
from derloop.kind import NONE_GRANTED, Permissions
from derloop.options import Options
from derloop.result import Result
from derloop.results.checkpoints import Checkpoint
from derloop.results.compare import compare
from derloop.results.store import recorded_until_ns
from derloop.resuming import resume
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SCENARIO = SCENARIOS / "kind_load.json"
TWO = {"feeder": ["grid"], "fleets": ["hom*"]}
SHORT = ["duration_s=3600", "deadlines.join_s=100"]


class Joined:
    """`derloop join` in a thread."""

    def __init__(
        self, port: int, token: str, name: str, scenario: Path | None = None, permissions: Permissions = NONE_GRANTED
    ) -> None:
        invitation = Invitation("127.0.0.1", port, name, token, scenario=scenario, permissions=permissions)
        self.error: Exception | None = None
        self._thread = Thread(target=self._join, args=(invitation,))
        self._thread.start()

    def _join(self, invitation: Invitation) -> None:
        try:
            joining.join(invitation, lambda text: None)
        except DerloopError as error:
            self.error = error

    def end(self) -> Exception | None:
        """Return what it ended with, once it has."""
        self._thread.join(100)
        assert not self._thread.is_alive()
        return self.error


Start = Callable[..., Joined]


@contextmanager
def hosts(folder: Path, **federates: list[str]) -> Iterator[tuple[Path, Start]]:
    """A hosts file, and what joins as one of its hosts."""
    file = hosts_file(folder, federates, port := free_ports(1)[0], wait_s=20, silence_s=60)
    started: list[Joined] = []

    def start(name: str, scenario: Path | None = None, **more: Any) -> Joined:
        started.append(Joined(port, (folder / "run.token").read_text(), name, scenario, **more))
        return started[-1]

    yield file, start
    for each in started:
        each.end()
    assert not children()


def children() -> list[psutil.Process]:
    """Return the processes in which federates run; one that goes meanwhile is none."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if "derloop.engines.child" in " ".join(process.cmdline()):
                found.append(process)
    return found


def run(folder: Path, file: Path, **options: Any) -> Result:
    return derloop.run(SCENARIO, SHORT, hosts=file, out=folder / "out", report=False, **options)


def kept(run: Path) -> dict[str, bytes]:
    """Return a run's checkpoints."""
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


def test_two_hosts_give_the_results_of_one_process(tmp_path: Path) -> None:
    with hosts(tmp_path, **TWO) as (file, start):
        joined = [start("feeder"), start("fleets", SCENARIO)]
        result = run(tmp_path, file, checkpoint_every_s=1800, workers=1)
        assert (result.outcome, result.failure, result.complaints) == ("completed", "", ())
        assert [each.end() for each in joined] == [None, None]
    alone = derloop.run(SCENARIO, SHORT, engine="local", out=tmp_path / "alone", report=False, checkpoint_every_s=1800)
    found = compare(alone.folder, result.folder)
    assert found.same, str(found)
    assert kept(result.folder.path) == kept(alone.folder.path)
    assert len(kept(alone.folder.path)) == 2
    record = result.folder.run
    assert (record["placement"], record["status"]) == ("hosts", alone.status)
    assert record["hosts"]["fleets"]["units"] == ["homes"]
    assert record["hosts"]["fleets"]["numpy"] == record["versions"]["numpy"]
    assert (result.folder.path / "logs" / "homes.log").exists()


@pytest.mark.long(about_s=12)
@pytest.mark.parametrize(("pause_s", "outcome"), [(0.1, "completed"), (1.0, "failed")])
def test_a_host_may_take_long_to_send_its_results_while_they_come(
    pause_s: float, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(source: Source) -> Iterator[tuple[str, int, bytes]]:
        for piece in pieces(source):
            time.sleep(pause_s)
            yield piece

    pieces = Source.pieces
    monkeypatch.setattr(Source, "pieces", slowly)
    monkeypatch.setattr(copying, "PIECE_BYTES", 300)
    monkeypatch.setattr(joining, "COPY_S", 1e6)  # all of it is left at the end
    monkeypatch.setattr(gathering, "COPY_S", 0.6)
    with hosts(tmp_path, homes=["homes"]) as (file, start):
        start("homes")
        result = run(tmp_path, file)
    assert result.outcome == outcome
    assert outcome == "completed" or result.failure == "host 'homes' has not sent all of its results"


def test_a_run_that_was_ended_does_not_wait_for_all_that_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        lab.kept_at = time.monotonic()

    def mute(*_: object) -> None:
        """Say nothing."""

    monkeypatch.setattr(gathering, "COPY_S", 0.2)
    lab = SimpleNamespace(name="lab", kept_at=0.0, has_copied=False, torn=[], check=check, send=mute, close=mute)
    file = SimpleNamespace(listen="127.0.0.1")
    plan = Plan(file, {"grid": "lab"}, [], None, "")  # type: ignore[arg-type]
    gathered = gathering.Gathering(plan, load(SCENARIO), tmp_path, mute)
    monkeypatch.setattr(gathered, "_guests", {"lab": lab})
    assert gathered.close(is_whole=False) == ["host 'lab' has not sent all of its results"]


def test_no_checkpoint_is_here_before_what_its_hosts_have_recorded_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "COPY_S", 1e6)  # nothing is sent but for a checkpoint, and at the end
    reached: list[tuple[int, int]] = []

    def write(checkpoint: Checkpoint, folder: Path) -> None:
        reached.append((checkpoint.at_ns, min(recorded_until_ns(folder).values())))

    monkeypatch.setattr(moving, "write", write)
    with hosts(tmp_path, **TWO) as (file, start):
        joined = [start("feeder"), start("fleets", SCENARIO)]
        result = run(tmp_path, file, checkpoint_every_s=900, workers=1)
        assert (result.outcome, [each.end() for each in joined]) == ("completed", [None, None])
    assert len(reached) == 4
    assert [until >= at for at, until in reached] == [True] * 4


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_run_that_was_stopped_goes_on_over_hosts_and_was_one_of_a_single_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "PIECE_BYTES", 1000)  # so that state comes in many pieces
    options: dict[str, Any] = {"engine": "local", "report": False, "checkpoint_every_s": 900}
    whole = derloop.run(SCENARIO, SHORT, out=tmp_path / "whole", **options)
    began = derloop.run(SCENARIO, SHORT, out=tmp_path / "out", **options).folder
    said = json.loads((began.path / "run.json").read_text())
    (began.path / "run.json").write_text(json.dumps({**said, "outcome": "running"}))
    for late in sorted((began.path / "checkpoints").iterdir())[2:]:
        late.unlink()
    (began.path / "logs").mkdir()
    (began.path / "logs" / "grid.log").write_text("of the first attempt\n")
    with hosts(tmp_path, **TWO) as (file, start):
        joined = [start("feeder"), start("fleets")]
        result = resume(began.path, Options(hosts=file, engine="helics", report=False))
        assert (result.outcome, result.failure, result.complaints) == ("completed", "", ())
        assert [each.end() for each in joined] == [None, None]
    found = compare(whole.folder, result.folder)
    assert found.same, str(found)
    assert kept(result.folder.path) == kept(whole.folder.path)
    assert result.folder.run["begun"]["at_s"] == 1800.0


def failed(folder: Path, file: Path) -> str:
    """Return why the run failed, and check that it has not begun."""
    result = run(folder, file)
    assert (result.outcome, result.status) == ("failed", 3)
    assert not [*result.folder.path.glob("series/*")]
    return result.failure


def test_hosts_with_other_versions_are_all_refused_with_every_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = joining.facts({})
    there = {**here, "numpy": "1.0", "python": "2.7.18"}
    monkeypatch.setattr(joining, "facts", lambda offers: there)
    with hosts(tmp_path, **TWO) as (file, start):
        joined = [start("fleets"), start("feeder")]
        why = (
            f"is not as this machine is: python is 2.7.18 there, {here['python']} here; "
            f"numpy is 1.0 there, {here['numpy']} here"
        )
        assert failed(tmp_path, file) == f"host 'feeder' {why}; host 'fleets' {why}"
        assert [str(each.end()) for each in joined] == [
            f"host 'fleets' was refused: {why}",
            f"host 'feeder' was refused: {why}",
        ]


def test_a_host_with_another_file_of_the_scenario_is_refused_by_its_name(tmp_path: Path) -> None:
    shutil.copytree(SCENARIOS / "feeders" / "ieee13", tmp_path / "study" / "feeders" / "ieee13")
    shutil.copy(SCENARIO, tmp_path / "study" / "kind_load.json")
    with (tmp_path / "study" / "feeders" / "ieee13" / "ieee13.dss").open("a") as feeder:
        feeder.write("! of yesterday\n")
    with hosts(tmp_path, feeder=["grid"]) as (file, start):
        start("feeder", tmp_path / "study" / "kind_load.json")
        failure = failed(tmp_path, file)
    assert failure.startswith("host 'feeder' is not as this machine is: ")
    assert "feeders/ieee13/ieee13.dss is another file there" in failure
    assert "profiles/load_shapes_summer.csv is missing there" in failure
    assert "scenario.schema.json" not in failure


def test_a_host_may_call_its_file_of_the_scenario_otherwise(tmp_path: Path) -> None:
    for folder in ("feeders/ieee13", "profiles"):
        shutil.copytree(SCENARIOS / folder, tmp_path / "study" / folder)
    shutil.copy(SCENARIO, tmp_path / "study" / "loads.json")
    with hosts(tmp_path, feeder=["grid"]) as (file, start):
        joined = start("feeder", tmp_path / "study" / "loads.json")
        result = run(tmp_path, file)
        assert (result.outcome, result.failure) == ("completed", "")
        assert joined.end() is None


def test_a_trusted_feeder_that_no_host_could_be_sent_is_refused_over_hosts(tmp_path: Path) -> None:
    """A host had another one at the same place, and gave other results without a word."""
    shutil.copytree(SCENARIOS / "feeders" / "ieee13", tmp_path / "feeder")
    (tmp_path / "study" / "profiles").mkdir(parents=True)
    shutil.copy(SCENARIOS / "profiles" / "load_shapes_summer.csv", tmp_path / "study" / "profiles")
    study = tmp_path / "study" / "kind_load.json"
    study.write_text(SCENARIO.read_text().replace("feeders/ieee13/ieee13.dss", "../feeder/ieee13.dss"))
    with hosts(tmp_path, **TWO) as (file, _), pytest.raises(ScenarioError) as refused:
        derloop.run(study, SHORT, hosts=file, out=tmp_path / "out", report=False, trust_feeder=True)
    assert refused.value.problems[0].what == (
        "its file '../feeder/ieee13.dss' cannot be sent: "
        "it lies outside of the scenario's folder, in which alone files are sent and compared"
    )
    assert derloop.run(study, SHORT, out=tmp_path / "alone", report=False, trust_feeder=True).outcome == "completed"


def test_a_host_whose_files_change_while_others_are_waited_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was compared as it was when it joined, and computed with what had come since."""
    shutil.copytree(SCENARIOS / "feeders" / "ieee13", tmp_path / "study" / "feeders" / "ieee13")
    shutil.copytree(SCENARIOS / "profiles", tmp_path / "study" / "profiles")
    shutil.copy(SCENARIO, tmp_path / "study" / "kind_load.json")
    feeder, compared = tmp_path / "study" / "feeders" / "ieee13" / "ieee13.dss", Event()

    def shown(*words: Any) -> Any:
        found = likeness.hashes(*words)
        if "feeders/ieee13/ieee13.dss" in found:
            compared.set()
        return found

    def change_and_join() -> None:
        assert compared.wait(100)
        feeder.write_text(feeder.read_text().replace("kw=1155", "kw=155"))
        start("fleets")

    monkeypatch.setattr(joining, "hashes", shown)
    with hosts(tmp_path, **TWO) as (file, start):
        joined, changing = start("feeder", tmp_path / "study" / "kind_load.json"), Thread(target=change_and_join)
        changing.start()
        result = run(tmp_path, file)
        changing.join()
        why = "host 'feeder' has changed since it joined: feeders/ieee13/ieee13.dss is another file there"
        assert (result.outcome, result.status, result.failure) == ("failed", 3, why)
        assert str(joined.end()) == why


def test_a_host_that_nobody_waits_for_or_that_comes_twice_is_turned_away(tmp_path: Path) -> None:
    with hosts(tmp_path, feeder=["grid"], fleets=["homes"]) as (file, start):
        joined = [start("feeder"), start("feeder"), start("spare")]
        result = derloop.run(SCENARIO, SHORT, hosts=patient(file, 3), out=tmp_path / "out", report=False)
        assert "host 'fleets' has not joined within 3 s" in result.failure
        said = sorted(str(each.end()) for each in joined)
    assert said == [
        "None",
        "host 'feeder' was refused: a host 'feeder' has joined already",
        "host 'spare' was refused: the run has no federates for a host 'spare'; it has hosts feeder, fleets",
    ]


def patient(file: Path, wait_s: float) -> Path:
    file.write_text(file.read_text().replace('"wait_s": 20', f'"wait_s": {wait_s}'))
    return file


def test_a_run_that_waits_for_one_host_says_so(tmp_path: Path) -> None:
    file, said = hosts_file(tmp_path, {"feeder": ["grid"]}, free_ports(1)[0], wait_s=0.1), list[str]()
    running.run(SCENARIO, SHORT, Options(hosts=file, out=tmp_path / "out", report=False), on_caution=said.append)
    assert said[0].startswith("waiting for 1 host, at most 0.1 s: derloop join ")


def test_a_file_that_is_gone_when_the_hosts_have_come_is_what_the_run_failed_of(tmp_path: Path) -> None:
    for folder in ("feeders/ieee13", "profiles"):
        shutil.copytree(SCENARIOS / folder, tmp_path / folder)
    shutil.copy(SCENARIO, tmp_path / "study.json")
    options = Options(hosts=tmp_path / "hosts.json", out=tmp_path / "out", report=False)

    def waiting(caution: str) -> None:
        if caution.startswith("waiting for 1 host"):
            (tmp_path / "profiles" / "load_shapes_summer.csv").unlink()
            start("lab")

    with hosts(tmp_path, lab=["grid"]) as (_, start):
        result = running.run(tmp_path / "study.json", SHORT, options, on_caution=waiting)
    assert (result.status, result.folder.run["outcome"]) == (3, "failed")
    assert result.failure == "profiles/load_shapes_summer.csv: gone while the run waited for its hosts"


def test_a_host_that_finds_no_run_says_so() -> None:
    invitation = Invitation("127.0.0.1", free_ports(1)[0], "feeder", "t" * 32, wait_s=0.1)
    with pytest.raises(HostError, match=r"host 'feeder' found no run at 127\.0\.0\.1:\d+: Connection refused"):
        joining.join(invitation, lambda text: None)


def test_a_host_that_finds_no_run_from_the_interface_that_it_was_given_names_both() -> None:
    """An address of this machine, so that it passes for one, from which no way leads to the run: TEST-NET-1."""
    invitation = Invitation("192.0.2.1", 7100, "feeder", "t" * 32, wait_s=0.1, interface="127.0.0.1")
    with pytest.raises(HostError, match=r"host 'feeder' found no run at 192\.0\.2\.1:7100 from 127\.0\.0\.1: "):
        joining.join(invitation, lambda text: None)


def unheard(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose stderr nobody reads."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "derloop.cli", *words]
    try:
        return subprocess.run(
            command, env={**os.environ, **TOKENS}, stdout=subprocess.PIPE, stderr=write, check=False, timeout=100
        )
    finally:
        os.close(write)


def test_a_host_whose_words_nobody_reads_has_its_status_all_the_same() -> None:
    joined = unheard("join", f"127.0.0.1:{free_ports(1)[0]}", "--name", "lab", "--wait", "0")
    assert joined.returncode == 3


def test_a_run_whose_cautions_nobody_reads_comes_to_its_end_and_says_it(tmp_path: Path) -> None:
    file = hosts_file(tmp_path, {"lab": ["homes"]}, free_ports(1)[0], wait_s=0.1)
    done = unheard("run", str(SCENARIO), "--hosts", str(file), "--out", str(tmp_path / "out"), "--no-report")
    assert done.returncode == 3
    assert b"FAILED host 'lab' has not joined within 0.1 s" in done.stdout
    assert json.loads((tmp_path / "out" / "run.json").read_text())["outcome"] == "failed"


def test_a_run_whose_hosts_file_is_missing_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="/placement: 'hosts' needs a file that says how they are reached"):
        derloop.run(SCENARIO, placement="hosts", out=tmp_path / "out")
    with pytest.raises(ScenarioError, match="/hosts/fleets/federates/0: no federate 'hom'; did you mean 'homes'"):
        derloop.run(SCENARIO, hosts=hosts_file(tmp_path, {"fleets": ["hom"]}, 7100), out=tmp_path / "out")
    with pytest.raises(ScenarioError, match=r"/hosts/fleets/0: no federate 'x'"):
        derloop.run(SCENARIO, ['hosts={"fleets": ["x"]}'], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ssh_that_fails_is_named_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    script = '#!/bin/sh\nprintf "%s\\n" "$@" > said.txt\necho "lab: unknown host" >&2\nexit 255\n'
    (tmp_path / "bin" / "ssh").write_text(script)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.json").write_text('{"hosts": {"feeder": {"ssh": "lab", "federates": ["grid"]}}}')
    assert failed(tmp_path, tmp_path / "hosts.json") == (
        "host 'feeder' was not started: ssh ended with status 255: lab: unknown host"
    )
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert said[-3:-1] == ["--", "lab"]
    assert said[-1].startswith("derloop join 127.0.0.1:")
    assert said[-1].endswith("--name feeder --token-file -")


def test_a_machine_without_ssh_names_the_host_that_it_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "hosts.json").write_text('{"hosts": {"feeder": {"ssh": "lab", "federates": ["grid"]}}}')
    assert failed(tmp_path, tmp_path / "hosts.json") == (
        "host 'feeder' was not started: ssh: No such file or directory"
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text())["outcome"] == "failed"


def test_connections_that_hang_are_ended_all_at_once_and_those_that_do_not_heed_it_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone takes 0.5 s until it is told, and then does not end for long."""
    (tmp_path / "ssh").write_text("#!/bin/sh\ntrap : TERM\ntouch $0.$$\nfor i in $(seq 600); do sleep 0.05; done\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(starting, "LEAVE_S", 0.5)
    lab = HostSettings(ssh="lab")
    hung = [Started(f"h{i}", lab, ("127.0.0.1", 1), "t" * 32, tmp_path / f"{i}.log") for i in range(9)]
    while len([*tmp_path.glob("ssh.*")]) < len(hung):
        time.sleep(0.02)
    began = time.monotonic()
    starting.end_all(hung)
    assert time.monotonic() - began < 0.5 * len(hung)
    assert [each.ended() for each in hung] == ["ssh ended with status -9"] * len(hung)


TOKENS = {"DERLOOP_TOKEN": "t" * 32}
PLACE = ["127.0.0.1:7100", "--name", "a"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["here", "--name", "a"], "no address with a port"),
        (["127.0.0.1:²", "--name", "a"], "no address with a port"),
        (["127.0.0.1:65536", "--name", "a"], "no address with a port"),
        (["a" * 80 + ":7109", "--name", "a"], "no address with a port"),
        (["lab..here:7109", "--name", "a"], "no address with a port"),
        (["[::1]:7109", "--name", "a"], "no address with a port, as 10.0.0.1:7100"),
        (["http://lab:7109", "--name", "a"], "no address with a port, as 10.0.0.1:7100"),
        (["h:1", "--name", "A b"], "no host's name"),
        ([*PLACE, "--interface", "foo"], "--interface: must be the IPv4 address of one interface"),
        ([*PLACE, "--interface", "0.0.0.0"], "--interface: must be the IPv4 address of one interface"),
        ([*PLACE, "--interface", "203.0.113.77"], "--interface: 203.0.113.77 is no address of this machine"),
        ([*PLACE, "--wait", "nan"], "--wait: nan is not between 0 and 86400 s"),
        ([*PLACE, "--wait", "-5"], "--wait: -5 is not between 0 and 86400 s"),
    ],
)
def test_what_is_wrong_in_the_words_of_a_host_is_said_at_once(words: list[str], why: str) -> None:
    result = CliRunner().invoke(app, words, env=TOKENS)
    assert result.exit_code == 2, result.exception
    assert why in " ".join(result.output.split())


def test_equipment_is_armed_on_a_bench_only() -> None:
    result = CliRunner().invoke(app, [*PLACE, "--arm", "inv-1"], env=TOKENS)
    assert str(result.exception) == "there is no bench file on which inv-1 could be armed"


def test_a_host_whose_folder_is_a_file_does_not_join(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with socket.create_server(("127.0.0.1", 0)) as run:
        port = int(run.getsockname()[1])
        with pytest.raises(DerloopError, match="is no folder"):
            joining.join(Invitation("127.0.0.1", port, "a", "t" * 32, folder=tmp_path / "mine"), lambda text: None)
        run.settimeout(0.0)
        with pytest.raises(BlockingIOError):  # nobody has knocked
            run.accept()


UNDER = "import signal; signal.signal(signal.SIGHUP, signal.{}); from derloop.cli import main; main()"
"""derloop as started from a terminal (SIG_DFL), or under nohup (SIG_IGN)."""


@pytest.mark.parametrize("how", ["SIG_DFL", "SIG_IGN"])
def test_a_host_whose_terminal_is_closed_tidies_up_unless_it_was_told_to_stay(tmp_path: Path, how: str) -> None:
    words = ["join", f"127.0.0.1:{free_ports(1)[0]}", "--name", "a", "--wait", "80"]
    environment = {**os.environ, **TOKENS, "TMPDIR": str(tmp_path)}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen([sys.executable, "-c", UNDER.format(how), *words], env=environment, **pipes) as host:
        while not (found := [*tmp_path.glob("derloop-host-*")]):
            assert host.poll() is None
            time.sleep(0.05)
        host.send_signal(signal.SIGHUP)
        if how == "SIG_IGN":
            time.sleep(0.5)
            assert host.poll() is None
            host.send_signal(signal.SIGTERM)
        assert host.wait(60) == 130
    assert not found[0].exists()


@pytest.mark.parametrize(
    ("trusts", "why"),
    [
        (False, "before the first step: on host 'ctl': could not be built: /federates/own/file: 'shave.py' is code, "),
        (True, "at 60 s: on host 'ctl': shave.py, line 4: ZeroDivisionError: division by zero"),
    ],
)
def test_a_federate_that_fails_is_named_with_its_host(tmp_path: Path, trusts: bool, why: str) -> None:
    code = "class Shave:\n def __init__(self, *_): ...\n def step(self, now_s, measured):\n  return 1 / 0\n"
    study = written(tmp_path, code)
    with hosts(tmp_path, ctl=["own"]) as (file, start):
        start("ctl", permissions=Permissions(trust_control=trusts))
        options: dict[str, Any] = {"hosts": file, "out": tmp_path / "out", "report": False}
        failure = derloop.run(study, ["deadlines.join_s=100"], trust_control=True, **options).failure
    assert failure.startswith(f"federate 'own' {why}"), failure
    assert not helics.is_wedged()
    assert not [c for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"]


def test_a_process_that_is_silent_is_named_with_its_host() -> None:
    lab: Any = SimpleNamespace(name="lab")
    child = Child(Crew((Unit("own", 0, ("own",), 10**9, False, (), ()),)), Relayed(lab, "own"))
    child.beat -= 100
    with pytest.raises(FederateError, match="hangs on host 'lab': nothing was heard of it for 100"):
        child.check(Deadlines(1, 1))


def test_a_process_that_is_killed_among_others_of_its_host_is_named(tmp_path: Path) -> None:
    """The host's hub notices it first, and so do the other processes."""
    killed: list[int] = []

    def kill() -> None:
        while len(found := children()) < 2:
            time.sleep(0.05)
        time.sleep(4)
        killed.append(found[-1].pid)
        found[-1].kill()

    with hosts(tmp_path, lab=["grid", "hom*"]) as (file, start):
        start("lab", SCENARIO)
        (killer := Thread(target=kill)).start()
        overrides = ["duration_s=86400", "step_s=1", "deadlines.join_s=100"]
        result = derloop.run(SCENARIO, overrides, hosts=file, out=tmp_path / "out", report=False)
        killer.join(60)
    why = rf"federate '\w+' .*: its process \(pid {killed[0]}\) on host 'lab' was killed by SIGKILL"
    assert re.match(why, result.failure), result.failure
