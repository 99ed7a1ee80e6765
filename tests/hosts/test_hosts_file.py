"""Which federates belong on which host, and how the hosts are reached."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from spread import hosts_file
from toys import Mixer, wire
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.errors import DerloopError, ScenarioError
from derloop.federation import Federation
from derloop.hosts.file import HostSettings, HostsFile, read_hosts
from derloop.hosts.starting import SSH, join_command
from derloop.options import Options
from derloop.placement import hosts_of

SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_load.json"
BY_HAND = {"port": 7100, "token_file": "run.token"}


def federation() -> Federation:
    """Return a converged loop of a and b, and c and d that read it."""
    federates = {
        "a": Mixer({"y": 1}, {"x": 1}, 1, 1),
        "b": Mixer({"x": 1}, {"y": 1}, 1, 2),
        "c": Mixer({"x": 1}, {"z": 1}, 1, 3),
        "d": Mixer({"x": 1}, {"z": 1}, 1, 4),
    }
    wires = ["a.x -> b.x", "b.y -> a.y converged", "a.x -> c.x", "a.x -> d.x"]
    return Federation(federates, [wire(text) for text in wires])


def read(folder: Path, **data: Any) -> HostsFile:
    (folder / "hosts.json").write_text(json.dumps(data))
    return read_hosts(folder / "hosts.json")


def problems(folder: Path, **data: Any) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        read(folder, **data)
    return [str(problem) for problem in error.value.problems]


def test_a_loop_goes_with_the_one_of_its_federates_that_is_named() -> None:
    placed, wrong = hosts_of(federation().units, {"feeder": ["b"], "fleets": ["[cd]"]})
    assert placed == {"a+b": "feeder", "c": "fleets", "d": "fleets"}
    assert wrong == []


def test_what_is_not_named_runs_where_the_run_was_started() -> None:
    assert hosts_of(federation().units, {"fleets": ["d"]}) == ({"d": "fleets"}, [])


def test_federates_that_are_nowhere_or_at_two_places_are_named() -> None:
    wishes = {"feeder": ["a", "dd", "c"], "fleets": ["b", "c"]}
    assert [str(problem) for problem in hosts_of(federation().units, wishes, ("federates",))[1]] == [
        "/hosts/feeder/federates/1: no federate 'dd'; did you mean 'd'?",
        "/hosts: 'a' on 'feeder' and 'b' on 'fleets': they are one converged loop and run on one host",
        "/hosts: 'c' on 'feeder' and 'c' on 'fleets': it runs on one host",
    ]


def test_a_hosts_file_is_on_loopback_unless_it_names_another_interface(tmp_path: Path) -> None:
    file = read(tmp_path, hosts={"b": {"federates": ["x"], "ssh": "lab@b"}})
    assert (file.listen, file.port, file.token_file) == ("127.0.0.1", 0, None)
    other = read(tmp_path, **BY_HAND, listen="10.0.0.1", hosts={"b": {"federates": ["x"]}})
    assert (other.listen, other.token_file) == ("10.0.0.1", tmp_path / "run.token")


@pytest.mark.parametrize("address", ["0.0.0.0", "everywhere", "10.0.0.1:80"])
def test_listening_to_the_world_or_to_no_address_is_refused(tmp_path: Path, address: str) -> None:
    why = "must be the IPv4 address of one interface, so that nothing is open to the world"
    found = problems(tmp_path, **BY_HAND, listen=address, hosts={"b": {}})
    assert found == [f"/listen: {why}, not {address!r}"]


@pytest.mark.parametrize("address", ["0.0.0.0", "foo", ""])
def test_an_address_of_the_command_line_that_is_none_is_told_as_such(tmp_path: Path, address: str) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({**BY_HAND, "hosts": {"b": {}}}))
    with pytest.raises(DerloopError, match=f"^--listen: must be the IPv4 address .*, not '{address}'$"):
        read_hosts(tmp_path / "hosts.json", address)


def test_a_key_that_stands_twice_is_told_also_where_the_address_is_another(tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text('{"port": 7100, "port": 7101, "token_file": "a", "hosts": {"b": {}}}')
    with pytest.raises(ScenarioError, match="/port: the key 'port' stands more than once"):
        read_hosts(tmp_path / "hosts.json", "127.0.0.1")


def test_what_only_a_host_is_told_that_is_started_by_ssh_is_refused_of_others(tmp_path: Path) -> None:
    by_hand = {"command": ["/opt/derloop"], "scenario": "a.json", "interface": "10.0.0.2", "folder": "/srv"}
    for key, value in {**by_hand, "flags": ["--trust-feeder"]}.items():
        what = f"{key} has no effect without ssh: who joins by hand says it to `derloop join`"
        assert problems(tmp_path, **BY_HAND, hosts={"b": {key: value}}) == [f"/hosts/b/{key}: {what}"]
        assert read(tmp_path, hosts={"b": {"ssh": "b", key: value}})
    what = "command (also scenario, interface, folder) has no effect without ssh: "
    assert problems(tmp_path, **BY_HAND, hosts={"b": by_hand})[0].startswith(f"/hosts/b/command: {what}")


def test_a_token_file_that_is_no_path_is_told_in_words(tmp_path: Path) -> None:
    found = problems(tmp_path, port=7100, token_file=5, hosts={"b": {}})
    assert found == ["/token_file: must be the path of a file, not 5"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(hosts="hosts.json", placement="threads"), "--hosts and --placement threads contradict each other"),
        (Options(listen="10.0.0.1"), "--listen is where other machines find the run; --hosts FILE says which"),
        (Options(listen=""), "--listen is where other machines find the run; --hosts FILE says which"),
    ],
)
def test_options_that_contradict_each_other_or_have_no_effect_are_refused(options: Options, why: str) -> None:
    with pytest.raises(DerloopError, match=why):
        derloop.run(SCENARIO, **{field.name: getattr(options, field.name) for field in fields(options)})


@pytest.mark.parametrize(
    ("set_", "options", "option"),
    [
        ("placement=threads", Options(hosts="hosts.json"), "--hosts hosts.json"),
        ('/placement="apart"', Options(placement="threads"), "--placement threads"),
        ("engine=local", Options(engine="mosaik"), "--engine mosaik"),
        ("workers=3", Options(placement="threads", workers=2), "--workers 2"),
        ("workers=3", Options(placement="together"), "--placement together"),
    ],
)
def test_an_override_that_says_otherwise_than_an_option_is_refused(set_: str, options: Options, option: str) -> None:
    told = {field.name: getattr(options, field.name) for field in fields(options)}
    with pytest.raises(DerloopError, match=re.escape(f"--set {set_} and {option} contradict each other")):
        derloop.run(SCENARIO, [set_], **told)


def test_an_override_that_says_the_same_as_an_option_is_none_too_many() -> None:
    said = ["placement=threads", 'engine="helics"', "duration_s=60"]
    assert Options(engine="helics", placement="threads").beside(said)[:3] == said


def test_a_placement_on_hosts_without_their_file_says_what_is_missing() -> None:
    result = CliRunner().invoke(app, ["run", str(SCENARIO), "--placement", "hosts"])
    assert result.exit_code == 2
    assert "/placement: 'hosts' needs a file that says how they are reached: --hosts FILE" in result.output


def test_an_address_that_this_machine_does_not_have_is_told_before_there_is_a_run(tmp_path: Path) -> None:
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps({**BY_HAND, "hosts": {"b": {"federates": ["grid"]}}}))
    words = ["run", str(SCENARIO), "--hosts", str(file), "--listen", "192.0.2.1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.output == "derloop: cannot listen on 192.0.2.1:7100: Cannot assign requested address\n"
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_told_before_there_is_a_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        file = hosts_file(tmp_path, {"b": ["grid"]}, port)
        result = CliRunner().invoke(app, ["run", str(SCENARIO), "--hosts", str(file), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.output == f"derloop: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert not (tmp_path / "run").exists()


def test_hosts_that_join_by_hand_need_a_port_and_a_token(tmp_path: Path) -> None:
    assert problems(tmp_path, hosts={"b": {}, "c": {"ssh": "c"}}) == [
        "/port: port is needed, for b must be told of it; or name their ssh"
    ]
    assert problems(tmp_path, port=7100, hosts={"b": {}}) == [
        "/token_file: token_file is needed, for b must be told of it; or name their ssh"
    ]


@pytest.mark.parametrize("ssh", ["-oProxyCommand=touch /tmp/x", "a b", "a;b", "", "$(x)"])
def test_an_ssh_destination_that_is_an_option_or_a_command_is_refused(tmp_path: Path, ssh: str) -> None:
    assert problems(tmp_path, hosts={"b": {"ssh": ssh}})[0].startswith("/hosts/b/ssh: ")


def test_the_command_of_a_host_is_words_and_its_token_is_none_of_them() -> None:
    host = HostSettings(ssh="lab@b", command=("/opt/my derloop",), scenario="/srv/a b.json", flags=("--trust-feeder",))
    assert join_command("b", host, ("10.0.0.1", 7100)) == [
        *("/opt/my derloop", "join", "10.0.0.1:7100", "--name", "b"),
        *("--scenario", "/srv/a b.json", "--trust-feeder"),
    ]
    assert SSH[0] == "ssh"
