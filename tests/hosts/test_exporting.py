"""A run over many machines as files for those who start processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from own_site import written
from spread import hosts_file
from typer.testing import CliRunner

from derloop.commands.export import app
from derloop.errors import DerloopError, ScenarioError
from derloop.hosts.exporting import Job, compose, helics_runner, job, slurm
from derloop.hosts.file import read_hosts
from derloop.hosts.greeting import read_token
from derloop.kind import NONE_GRANTED, Permissions


def compose_command() -> list[str] | None:
    """Return how Compose 2 or later is called here, as a part of Docker or by itself."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]):
            told = subprocess.run([*words, "version", "--short"], capture_output=True, text=True, timeout=60)
            if told.returncode == 0 and int(told.stdout.lstrip("v").partition(".")[0]) >= 2:
                return words
    return None


COMPOSE = compose_command() or []
needs_compose = pytest.mark.skipif(not COMPOSE, reason="Docker Compose 2 is not installed")


def made(
    folder: Path,
    overrides: tuple[str, ...] = (),
    names: tuple[str, ...] = ("feeder", "fleets"),
    permissions: Permissions = NONE_GRANTED,
    **more: Any,
) -> Job:
    hosts = {"feeder": {"federates": ["grid"]}, "fleets": {"federates": ["pv"]}}
    data = {"port": 7100, "token_file": "run.token", "hosts": hosts, **more}
    (folder / "hosts.json").write_text(json.dumps(data))
    file = read_hosts(folder / "hosts.json")
    return job("study", folder / "study.json", folder / "hosts.json", file, names, overrides, permissions)


def test_the_token_is_made_once_where_all_find_it(tmp_path: Path) -> None:
    token = read_token(made(tmp_path).token)
    assert read_token(made(tmp_path).token) == token


def test_a_runner_file_starts_the_run_and_every_host(tmp_path: Path) -> None:
    runner = json.loads(helics_runner(made(tmp_path, ('name="it\'s"',))))
    assert (runner["name"], runner["broker"]) == ("study", False)
    commands = {federate["name"]: shlex.split(federate["exec"]) for federate in runner["federates"]}
    assert list(commands) == ["run", "feeder", "fleets"]
    study, hosts = str(tmp_path / "study.json"), str(tmp_path / "hosts.json")
    assert commands["run"] == ["derloop", "run", study, "--hosts", hosts, "--set", 'name="it\'s"']
    token = str(tmp_path / "run.token")
    join = ["derloop", "join", "127.0.0.1:7100", "--name", "fleets", "--token-file", token, "--wait", "60"]
    assert commands["fleets"] == join


def test_hosts_look_for_a_run_for_as_long_as_it_waits_for_them(tmp_path: Path) -> None:
    job = made(tmp_path, wait_s=900)
    runner, composed = json.loads(helics_runner(job)), json.loads(compose(job, "lab/derloop"))
    assert runner["federates"][2]["exec"].endswith("--token-file " + str(job.token) + " --wait 900")
    assert composed["services"]["fleets"]["command"][-2:] == ["--wait", "900"]
    assert f"--token-file {job.token} --wait 900 &\n" in slurm(job)


def test_a_scenario_that_needs_a_permission_is_exported_with_it(tmp_path: Path) -> None:
    study, file = str(written(tmp_path)), str(hosts_file(tmp_path, {"ctl": ["own"]}, 7100))
    for words in (["helics-runner"], ["slurm"], ["compose", "--image", "lab/derloop"]):
        refused = CliRunner().invoke(app, [*words, study, "--hosts", file])
        assert "--trust-control allows it" in str(refused.exception)
        exported = CliRunner().invoke(app, [*words, study, "--hosts", file, "--trust-control"])
        assert exported.exit_code == 0, exported.exception
        assert exported.output.count("--trust-control") == 2  # the run's, and the host's


def test_a_runner_file_names_the_bench_and_what_is_armed(tmp_path: Path) -> None:
    bench = Permissions(bench=tmp_path / "bench.json", armed=("inv-1", "inv-2"))
    granted = ["--bench", f"{tmp_path}/bench.json", "--arm", "inv-1", "--arm", "inv-2"]
    for federate in json.loads(helics_runner(made(tmp_path, permissions=bench)))["federates"]:
        assert shlex.split(federate["exec"])[-6:] == granted


def test_containers_are_on_a_network_of_their_own_and_publish_no_port(tmp_path: Path) -> None:
    services = (file := json.loads(compose(made(tmp_path), "lab/derloop:1")))["services"]
    assert list(services) == ["run", "feeder", "fleets"]
    assert not any("ports" in service for service in services.values())
    assert file["networks"]["derloop"]["internal"] is True
    address = services["run"]["networks"]["derloop"]["ipv4_address"]
    assert services["run"]["command"][-4:] == ["--listen", address, "--out", "/runs/study"]
    assert services["fleets"]["command"][:5] == ["derloop", "join", f"{address}:7100", "--name", "fleets"]
    token = {"type": "bind", "source": f"{tmp_path}/run.token", "target": "/derloop.token", "read_only": True}
    assert services["fleets"]["volumes"] == [token]  # and nothing of the study


def test_compose_puts_no_variable_into_a_path(tmp_path: Path) -> None:
    (folder := tmp_path / "a$HOME").mkdir()
    run = json.loads(compose(made(folder), "lab/derloop"))["services"]["run"]
    assert run["volumes"][0]["source"] == f"{tmp_path}/a$$HOME"


def test_compose_takes_any_path_as_it_is(tmp_path: Path) -> None:
    (folder := tmp_path / "a:b 🔋").mkdir()
    text = compose(made(folder), "lab/derloop")
    assert f'"{folder}"' in text
    study = {"type": "bind", "source": str(folder), "target": "/study", "read_only": True}
    assert json.loads(text)["services"]["run"]["volumes"][0] == study


@needs_compose
def test_compose_reads_its_file_and_has_what_was_meant(tmp_path: Path) -> None:
    """Docker Compose itself, which needs no engine for it."""
    (folder := tmp_path / "a:b $HOME 🔋").mkdir()
    (folder / "compose.yaml").write_text(compose(made(folder, ('name="it\'s $5"',)), "lab/derloop:1"))
    words = [*COMPOSE, "-f", "compose.yaml", "config", "--format", "json"]
    found = json.loads(subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=60).stdout)
    assert (found["name"], sorted(found["services"])) == ("study", ["feeder", "fleets", "run"])
    assert found["networks"]["derloop"]["internal"] is True
    run, fleets = found["services"]["run"], found["services"]["fleets"]
    said = 'derloop run /study/study.json --hosts /hosts/hosts.json --set name="it\'s $$5" --listen 10.89.0.2'
    assert " ".join(run["command"]) == f"{said} --out /runs/study"
    mounted = {volume["target"]: (volume["source"], volume.get("read_only", False)) for volume in run["volumes"]}
    as_it_says_it = str(folder).replace("$", "$$")
    runs = f"{as_it_says_it}/runs"
    assert mounted == {"/study": (as_it_says_it, True), "/hosts": (as_it_says_it, True), "/runs": (runs, False)}
    assert fleets["depends_on"]["run"]["condition"] == "service_started"
    assert fleets["command"][-6:] == ["--name", "fleets", "--token-file", "/derloop.token", "--wait", "60"]


def test_a_token_that_the_containers_could_not_see_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    with pytest.raises(DerloopError, match=r"secrets/run\.token must be beside"):
        compose(made(tmp_path, token_file="secrets/run.token"), "lab/derloop")


TOOLS = {
    "scontrol": 'printf "%s\\n" node-0 node-1 node-2',
    "srun": 'shift 2; export NODE=$1; shift; [ $1 = getent ] && exec "$@"; echo "$NODE: $*" >> calls.txt',
    "getent": '[ "$NODE" ] && echo "10.1.0.7 STREAM $2" || echo "127.0.1.1 STREAM $2"',
    "derloop": 'echo "here: $*" >> calls.txt; exit 1',
}
"""What the script calls, and what it says with."""


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the script is bash's")


def status(folder: Path, **tools: str) -> int:
    """Return how the script ends."""
    for name, text in {**TOOLS, **tools}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "study.sh").write_text(slurm(made(folder, permissions=Permissions(trust_feeder=True))))
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node-[0-2]"}
    return subprocess.run(["bash", "study.sh"], cwd=folder, env=environment, timeout=60).returncode


@needs_bash
def test_a_slurm_script_starts_every_host_on_a_node_and_ends_as_the_run_does(tmp_path: Path) -> None:
    assert status(tmp_path) == 1
    assert "#SBATCH --nodes=3\n" in (tmp_path / "study.sh").read_text()
    calls = sorted((tmp_path / "calls.txt").read_text().splitlines())
    token, hosts = tmp_path / "run.token", tmp_path / "hosts.json"
    assert calls == [
        f"--nodelist=node-1: derloop join 10.1.0.7:7100 --name feeder --token-file {token} --wait 60 --trust-feeder",
        f"--nodelist=node-2: derloop join 10.1.0.7:7100 --name fleets --token-file {token} --wait 60 --trust-feeder",
        f"here: run {tmp_path}/study.json --hosts {hosts} --trust-feeder --listen 10.1.0.7",
    ]


@needs_bash
def test_a_slurm_script_that_is_told_to_end_outlives_the_run(tmp_path: Path) -> None:
    assert status(tmp_path, derloop="kill -TERM $PPID; exit 130") == 130


def test_hosts_that_the_run_would_start_itself_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="/hosts/feeder/ssh: what is exported starts every host itself"):
        made(tmp_path, hosts={"feeder": {"ssh": "feeder"}, "fleets": {}})


def test_a_host_with_the_name_of_the_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="/hosts/run: what is exported calls the run itself so"):
        made(tmp_path, names=("run", "fleets"), hosts={"run": {}, "fleets": {}})


def test_planning_hosts_for_others_to_start_loads_no_middleware() -> None:
    code = (
        "import sys, derloop.hosts.plan, derloop.hosts.exporting; assert not {'helics', 'mosaik'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
