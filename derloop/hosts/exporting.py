"""A run over many machines as files for those who start processes: HELICS's runner, Docker Compose, Slurm.

Each starts one `derloop run --hosts` and a `derloop join` for every host of the hosts file that has something to do.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derloop.errors import DerloopError, Problem, ScenarioError
from derloop.hosts.file import HostsFile
from derloop.hosts.greeting import keep_token, make_token
from derloop.kind import NONE_GRANTED, Permissions

SUBNET, RUN_ADDRESS = "10.89.0.0/24", "10.89.0.2"
STUDY, HOSTS, RUNS, TOKEN = "/study", "/hosts", "/runs", "/derloop.token"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be exported."""

    name: str
    scenario: Path
    hosts: Path
    file: HostsFile
    names: tuple[str, ...]
    """The hosts that have something to do."""
    overrides: tuple[str, ...] = ()
    permissions: Permissions = NONE_GRANTED
    """What the run may do here, and on every host."""

    @property
    def token(self) -> Path:
        assert self.file.token_file  # a hosts file with hosts that join by hand has one
        return self.file.token_file

    def run(self, scenario: str, hosts: str, *more: str) -> list[str]:
        sets = [word for override in self.overrides for word in ("--set", override)]
        return ["derloop", "run", scenario, "--hosts", hosts, *sets, *self.granted, *more]

    def join(self, address: str, name: str, token: str) -> list[str]:
        words = ["derloop", "join", f"{address}:{self.file.port}", "--name", name, "--token-file", token]
        return [*words, *self.patience, *self.granted]

    @property
    def patience(self) -> list[str]:
        """How long a host looks for the run, which has the scenario to read first, as words of a command."""
        return ["--wait", f"{self.file.wait_s:g}"]

    @property
    def granted(self) -> list[str]:
        """The permissions as words of a command."""
        given = self.permissions
        words = ["--trust-feeder"] * given.trust_feeder + ["--trust-control"] * given.trust_control
        words += ["--bench", str(given.bench)] if given.bench else []
        return [*words, *(word for name in given.armed for word in ("--arm", name))]


def job(
    name: str,
    scenario: Path,
    hosts: Path,
    file: HostsFile,
    names: Sequence[str],
    overrides: Sequence[str] = (),
    permissions: Permissions = NONE_GRANTED,
) -> Job:
    """Return what is to be exported; the token is made where there is none, so that all find the same.

    Raises: ScenarioError for hosts that the run would start by ssh.
    """
    problems = [
        Problem(f"/hosts/{each}/ssh", "what is exported starts every host itself; leave ssh out")
        for each in names
        if file.hosts[each].ssh is not None
    ]
    if "run" in names:
        problems.append(Problem("/hosts/run", "what is exported calls the run itself so; give the host another name"))
    if problems:
        raise ScenarioError(problems, str(hosts))
    made = Job(name, scenario.resolve(), hosts.resolve(), file, tuple(names), tuple(overrides), permissions)
    if not made.token.exists():
        keep_token(made.token, make_token())
    return made


def helics_runner(job: Job) -> str:
    """Return a file for `helics run --path`: everything on the machine that runs it."""
    commands = {"run": job.run(str(job.scenario), str(job.hosts))}
    commands |= {name: job.join(job.file.listen, name, str(job.token)) for name in job.names}
    federates = [
        {"name": name, "directory": ".", "host": "localhost", "exec": shlex.join(words)}
        for name, words in commands.items()
    ]
    return json.dumps({"name": job.name, "broker": False, "federates": federates}, indent=1) + "\n"


def compose(job: Job, image: str) -> str:
    """Return a Compose file, as JSON, which is YAML: a container for each host, on a network of their own.

    Only the run sees the study; the other containers are sent what they need. There is no way out to equipment.
    """
    if job.token.parent.resolve() != job.hosts.parent:
        raise DerloopError(f"{job.token} must be beside {job.hosts}: the run's container sees that folder alone")
    common = {"image": image, "init": True, "user": f"{os.getuid()}:{os.getgid()}"}
    study, hosts = f"{STUDY}/{job.scenario.name}", f"{HOSTS}/{job.hosts.name}"
    runs = {"type": "bind", "source": "./runs", "target": RUNS, "bind": {"create_host_path": True}}
    run: dict[str, Any] = {
        **common,
        "command": job.run(study, hosts, "--listen", RUN_ADDRESS, "--out", f"{RUNS}/{job.name}"),
        "volumes": [_seen(job.scenario.parent, STUDY), _seen(job.hosts.parent, HOSTS), runs],
        "networks": {"derloop": {"ipv4_address": RUN_ADDRESS}},
    }
    services = {"run": run}
    for name in job.names:
        services[name] = {
            **common,
            "command": job.join(RUN_ADDRESS, name, TOKEN),
            "volumes": [_seen(job.token, TOKEN)],
            "networks": ["derloop"],
            "depends_on": ["run"],
        }
    network = {"internal": True, "ipam": {"config": [{"subnet": SUBNET}]}}
    file = {"name": job.name, "services": services, "networks": {"derloop": network}}
    text = json.dumps(file, indent=1, ensure_ascii=False)  # YAML knows no surrogate pairs
    return text.replace("$", "$$") + "\n"  # or Compose would put variables in their place


def _seen(path: Path, inside: str) -> dict[str, Any]:
    """Return a volume that is only read, in the long form: in the short one a path has no colon."""
    return {"type": "bind", "source": str(path), "target": inside, "read_only": True}


SLURM = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
# The first node runs the scenario, each other one a host of its hosts file. The token, the scenario and the hosts file
# are on a file system that all nodes see; results go to the folder of the run.
# `scancel` tells every process of the job to end, and kills what is left when this script has: it outlives the run.
trap : TERM
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Its address as others find it: by its own name a machine often finds a loopback alone, as 127.0.1.1.
address=$(srun --nodes=1 --ntasks=1 --nodelist="${{nodes[1]}}" getent ahostsv4 "${{nodes[0]}}" |
  awk 'NR == 1 {{ print $1 }}')
hosts=({hosts})
for i in "${{!hosts[@]}}"; do
  srun --nodes=1 --ntasks=1 --nodelist="${{nodes[i + 1]}}" \\
    derloop join "$address:{port}" --name "${{hosts[i]}}" --token-file {token}{more} &
done
status=0
{run} --listen "$address" || status=$?
wait
exit $status
"""


def slurm(job: Job) -> str:
    """Return a script for `sbatch`: a node for the run, and one for each host."""
    return SLURM.format(
        name=f"derloop-{job.name}",
        nodes=len(job.names) + 1,
        hosts=" ".join(job.names),
        port=job.file.port,
        token=shlex.quote(str(job.token)),
        more="".join(f" {shlex.quote(word)}" for word in (*job.patience, *job.granted)),
        run=shlex.join(job.run(str(job.scenario), str(job.hosts))),
    )
