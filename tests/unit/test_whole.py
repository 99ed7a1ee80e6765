"""Files that are there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from derloop.results.whole import whole

ALSO = """
import sys
from pathlib import Path
from derloop.results.whole import whole
with whole(Path(sys.argv[1])) as draft:
    draft.write_text("of the other")
"""


def test_two_processes_that_write_one_file_keep_nobody_from_it(tmp_path: Path) -> None:
    """Of two `derloop report` of one run, one said that there was no such file."""
    page = tmp_path / "report.html"
    with whole(page) as draft:
        draft.write_text("of this")
        subprocess.run([sys.executable, "-c", ALSO, str(page)], check=True, timeout=50)
        assert page.read_text() == "of the other"
    assert page.read_text() == "of this"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
