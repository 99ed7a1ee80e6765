"""A page as one HTML file that holds everything: text, data, style and scripts. It asks the network for nothing.

Whatever a scenario says is text here: jinja2 escapes it in HTML, `_json` in JSON, `traces.label` in charts; and a
content security policy lets no script run but the two that are put in, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from derloop.report import wording
from derloop.results.whole import whole

_ENDS_SCRIPT = re.compile("</script|<!--", re.IGNORECASE)
"""Looked for without a copy in lower case: of plotly's 5 MB that took a third of the time of a page."""


def rendered(template: str, data: Mapping[str, object], **values: object) -> str:
    """Return the page that `template` makes of `values`, with `data` for its charts."""
    plotly, script = _script("plotly.package_data", "plotly.min.js"), _script("derloop.report", "page.js")
    text: str = _template(template).render(
        data=_json(data),
        plotly=plotly,
        script=script,
        hashes=" ".join(_hash(code) for code in (plotly, script)),
        style=Markup(_text("derloop.report", "page.css")),  # noqa: S704 - our own file
        **values,
    )
    return text


def write_whole(text: str, path: Path) -> None:
    """Write the page so that it is never seen in part. Raises DerloopError where it cannot be written."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def _json(data: Mapping[str, object]) -> Markup:
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _text(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _script(package: str, name: str) -> Markup:
    text = _text(package, name)
    if _ENDS_SCRIPT.search(text):
        text = text.replace("</", "<\\/").replace("<!--", "<\\!--")
    return Markup(text)  # noqa: S704 - the code of an installed package


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _template(name: str) -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "beyond": wording.beyond,
        "number": wording.number,
        "duration": wording.duration,
        "plain": wording.plain,
        "flat": wording.flat,
    }
    return environment.from_string(_text("derloop.report", name))
