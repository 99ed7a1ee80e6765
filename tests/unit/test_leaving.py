"""Somebody else's code that leaves by `os._exit` ends no command in silence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from derloop.commands.leaving import exits_told

IN_A_THREAD = """
import os, threading, time
from derloop.commands.leaving import exits_told

with exits_told():
    threading.Thread(target=os._exit, args=(0,)).start()
    time.sleep(60)
"""
AT_THE_END = """
import atexit, os, sys
from derloop.cli import main

atexit.register(lambda: os._exit(0))
sys.argv = ["derloop", "compare", "nothing", "else"]
main()
"""
IN_A_FORK = """
import os
from derloop.commands.leaving import exits_told

with exits_told():
    child = os.fork()
    if child == 0:
        os._exit(7)
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
A_DEFECT = """
import sys
from derloop import cli

@cli.app.command()
def broken():
    {code}

sys.argv = ["derloop", "broken"]
cli.main()
"""
ANOTHER_PROGRAM = """
import os
from derloop.commands.leaving import exits_told

called = {"__name__": "derloop.engines.stepping"}
exec("def step(federate): federate()", called)
with exits_told():
    called["step"](lambda: os.execl("/bin/true", "true"))
"""
ANOTHER_PROGRAM_OF_ITS_OWN = """
import os, sys
from derloop.commands.leaving import exits_told

with exits_told():
    os.execl(sys.executable, "python", "-c", "raise SystemExit(5)")
"""
ANOTHER_PROGRAM_OF_A_FORK = """
import os, sys
from derloop.commands.leaving import exits_told

with exits_told():
    if (child := os.fork()) == 0:
        os.execve(sys.executable, argv=["python", "-c", "raise SystemExit(5)"], env={})
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [(IN_A_THREAD, 3, "has ended the command"), (AT_THE_END, 3, "has ended the command"), (IN_A_FORK, 7, "")],
)
def test_an_exit_that_nobody_waits_for_is_said_and_one_of_a_fork_is_its_own(code: str, status: int, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, bool(ended.stderr)) == (status, bool(said))
    assert said in ended.stderr


def test_another_program_in_the_place_of_a_run_is_an_exit_and_elsewhere_what_was_meant() -> None:
    run = [sys.executable, "-c"]
    ended = subprocess.run([*run, ANOTHER_PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr) == (1, "os.execv('/bin/true')\n")
    for code in (ANOTHER_PROGRAM_OF_ITS_OWN, ANOTHER_PROGRAM_OF_A_FORK):
        ended = subprocess.run([*run, code], capture_output=True, text=True, timeout=50, check=False)
        assert (ended.returncode, ended.stderr) == (5, "")


def test_exits_are_as_they_were_afterwards() -> None:
    before = os._exit, os.execv, os.execve
    with pytest.raises(RuntimeError), exits_told():
        raise RuntimeError
    assert (os._exit, os.execv, os.execve) == before


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise MemoryError", 3, "derloop: there is not enough memory"),
        ("raise RuntimeError('a defect')", 3, "RuntimeError: a defect"),
        ("raise RuntimeError('of an import') from KeyboardInterrupt()", 130, "RuntimeError: of an import"),
    ],
)
def test_a_defect_has_not_the_status_of_a_failed_check(code: str, status: int, said: str) -> None:
    words = [sys.executable, "-c", A_DEFECT.format(code=code)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (status, said)
