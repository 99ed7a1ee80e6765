"""Kind `http-control`: a control of the user's that is a process, and answers over HTTP.

At each instant but the first the measurements are posted to `url`, as JSON:

```json
{ "now_s": 600.0, "measured": { "grid.head_kw": [2710.4], "batteries.soc_pu": [0.5, 0.48] } }
```

and what comes back, with status 200, are setpoints, one number for all elements or one for each; what is left out stays
as it was:

```json
{ "setpoints": { "batteries.p_set_kw": [12.5, 0.0] } }
```

The first request also has `parameters`, as in the scenario, and `site`: labels and units of every port, `step_s`,
`start` and `seed`. An answer that is late (`deadline_s`, from the connection to the last byte), too long, not JSON, of
another shape, or not finite ends the run in this federate's name.

A scenario that makes derloop talk to a process is not let do so by itself: `--trust-control`. The process is on this
machine (`127.0.0.1`, `localhost`, `::1`) unless `beyond_loopback` says that it may be elsewhere; nothing is encrypted.

It waits on a socket, so it has a thread of its own, and it cannot be stepped again for the same instant.
"""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from derloop.kind import Context, Kind
from federates.control.own.http import LOOPBACK, OverHttp
from federates.control.own.listening import Listening, listening, require_trust
from federates.control.own.ports import OwnPorts


class HttpControlSettings(OwnPorts):
    """A control of the user's over HTTP."""

    url: str = Field(max_length=2000, description="Where it answers.", examples=["http://127.0.0.1:8080/step"])
    deadline_s: float = Field(
        default=5.0, gt=0, le=600, description="Longest time for one answer, from the connection to its last byte, s."
    )
    max_bytes: int = Field(default=4_000_000, ge=100, le=256 * 2**20, description="Longest answer, bytes.")
    beyond_loopback: bool = Field(default=False, description="The process may be on another machine.")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.username is not None or parts.fragment:
            raise ValueError("must be like http://127.0.0.1:8080/step")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("has characters that a URL has not")
        if parts.port == 0:
            raise ValueError("has no port 0")
        return url

    @model_validator(mode="after")
    def _stays_here(self) -> Self:
        if not self.beyond_loopback and urlsplit(self.url).hostname not in LOOPBACK:
            raise ValueError(f"url is not on this machine ({', '.join(LOOPBACK)}), and beyond_loopback is false")
        return self


def build(settings: HttpControlSettings, context: Context) -> Listening:
    """Return the control. Raises: PlaceError where it is not allowed, or nobody has what it names."""
    require_trust(context, "url", f"{settings.url!r} is another process")
    control = OverHttp(settings.url, settings.deadline_s, settings.max_bytes, settings.parameters)
    return listening(control, settings, context, waits=True)


KIND = Kind(
    "http-control", "A control of your own: a process that answers over HTTP", HttpControlSettings, build, listens=True
)
