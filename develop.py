#!/usr/bin/env python3
"""Set up derloop in `.venv` beside this file and run a command there: needs Python 3.11 or newer and nothing else.

python3 develop.py derloop run scenarios/quickstart.json
python3 develop.py tox
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
STAMP = ENVIRONMENT / "derloop-installed"
LEAST = (3, 11)
TOOLS = ("tox>=4.20", "tox-uv>=1.20")
"""What runs the tests. With uv an environment of tox is there in seconds, and has what this one was made of."""


def main(words: list[str]) -> int:
    if sys.version_info < LEAST:
        return _refuse(f"Python {'.'.join(map(str, LEAST))} or newer is needed, this is {sys.version.split()[0]}")
    if not words:
        return _refuse(__doc__ or "")
    problem = _set_up()
    if problem:
        return _refuse(problem)
    program = BIN / words[0]
    if not program.exists():
        return _refuse(f"there is no {words[0]!r} in {BIN}")
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run([program, *words[1:]], env=environment, check=False).returncode


def _refuse(why: str) -> int:
    sys.stderr.write(why.strip() + "\n")
    return 2


def _set_up() -> str:
    """Make the environment, unless it is there and still fits; return what stands in the way."""
    wanted = _fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return ""
    sys.stderr.write(f"setting up {ENVIRONMENT} (once)\n")
    if not (BIN / "python").exists() and (problem := _create()):
        return problem
    if not _install(f"{ROOT}[test]"):
        return "pip could not install derloop; see above"
    STAMP.write_text(wanted)
    return ""


def _install(derloop: str) -> bool:
    """Install derloop and the tools: by uv, which takes a sixth of the time, or where it cannot, by pip.

    pip says what is wrong, and reads settings that uv does not know, as those of a mirror in `pip.conf`.
    """
    wanted = ["--editable", derloop, *TOOLS]
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = [BIN / "uv", "pip", "install", "--python", BIN / "python"]
    if _does([*pip, "--only-binary", "uv", "uv"], is_silent=True) and _does([*uv, *wanted], is_silent=True):
        return True
    return _does([*pip, *wanted])


def _does(command: list[str | Path], *, is_silent: bool = False) -> bool:
    """Run a command in the project's folder; return whether it succeeds."""
    said = subprocess.DEVNULL if is_silent else None
    return subprocess.run(command, cwd=ROOT, stdout=said, stderr=said, check=False).returncode == 0


def _create() -> str:
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except (subprocess.CalledProcessError, OSError, SystemExit):  # Debian ships venv without ensurepip
        return "this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"
    return ""


def _fingerprint() -> str:
    project = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(project + repr(TOOLS).encode() + sys.version.encode() + str(ROOT).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
