"""A control over HTTP on loopback: what it is asked, what it may answer, and how its failures end the run by name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from own_site import run, written
from pydantic import ValidationError

from derloop.result import Result
from federates.control.own.http_control import HttpControlSettings

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve `reply` on a free port of 127.0.0.1; yield its URL and every request as it came."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            reply(self, asked[-1])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/step", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(text: str, status: int = 200) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return reply


def shave(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
    given_kw = sum(asked["measured"]["batteries.p_kw"])
    each_kw = max(0.0, asked["measured"]["grid.head_kw"][0] + given_kw - 20.0) / 2
    said(json.dumps({"setpoints": {"batteries.p_set_kw": [each_kw, each_kw]}}))(handler, asked)


def over_http(folder: Path, reply: Reply, *overrides: str, **settings: Any) -> tuple[Result, list[dict[str, Any]]]:
    path = written(folder)
    with serving(reply) as (url, asked):
        own = {"kind": "http-control", "url": url, "members": ["batteries"], "writes": ["p_set_kw"], **settings}
        own = {"reads": ["grid.head_kw", "p_kw"], "parameters": {"limit_kw": 20}, **own}
        data = json.loads(path.read_text())
        data["federates"]["own"] = own
        path.write_text(json.dumps(data))
        return run(path, overrides=overrides), asked


def test_a_process_that_answers_keeps_the_peak_down(tmp_path: Path) -> None:
    result, asked = over_http(tmp_path, shave)
    assert result.outcome == "completed", result.failure
    assert [v.outcome for v in result.verdicts if v.check == "peak"] == ["PASS"]
    assert [a["now_s"] for a in asked] == [60.0 * i for i in range(1, 60)]
    assert asked[0]["parameters"] == {"limit_kw": 20}
    assert asked[0]["site"]["units"]["batteries.p_set_kw"] == "kW"
    assert len(asked[0]["site"]["labels"]["batteries.p_kw"]) == 2
    assert "site" not in asked[1]


def test_the_check_fails_with_a_process_that_asks_for_nothing(tmp_path: Path) -> None:
    result, _ = over_http(tmp_path, said('{"setpoints": {}}'), "duration_s=600")
    assert [v.outcome for v in result.verdicts if v.check == "peak"] == ["FAIL"]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said("busy", 503), "answers with status 503: 'busy'"),
        (said("", 302), "answers with status 302"),
        (said("not JSON"), "answers with what is not asked for: /: Invalid JSON"),
        (said('{"setpoints": {"batteries.p_set_kw": "5"}}'), "/setpoints/batteries.p_set_kw: "),
        (said('{"setpoints": {}, "more": 1}'), "/more: Extra inputs"),
        (said('{"setpoints": {"batteries.p_set_kw": NaN}}'), "answers with what is not asked for"),
        (said('{"setpoints": {"batteries.p_set_kw": [1, 2, 3]}}'), "with shape (3,), not one number or (2,)"),
        (said('{"setpoints": {"x.p": 1}}'), "it sets 'x.p', which it does not write"),
        (said(" " * 5000), "answers with more than max_bytes, 1000"),
        (lambda handler, _: handler.connection.close(), "no answer: "),
    ],
)
def test_what_it_must_not_answer_ends_the_run_in_its_name(tmp_path: Path, reply: Reply, why: str) -> None:
    result, _ = over_http(tmp_path, reply, "duration_s=300", max_bytes=1000)
    assert (result.outcome, result.status) == ("failed", 3)
    assert result.failure.startswith("federate 'own' at 60 s: ")
    assert why in result.failure
    assert "Traceback" not in result.failure


def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Send a byte every 50 ms: each one in time, and never all."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


@pytest.mark.parametrize("reply", [drip, lambda handler, _: time.sleep(1.5)], ids=["drip", "silence"])
def test_the_deadline_is_for_the_whole_answer(tmp_path: Path, reply: Reply) -> None:
    result, _ = over_http(tmp_path, reply, "duration_s=300", deadline_s=0.4)
    assert result.failure.endswith("no answer within deadline_s, 0.4 s"), result.failure


def test_nobody_at_the_address_ends_the_run_in_its_name(tmp_path: Path) -> None:
    with serving(shave) as (url, _):
        pass
    result, _ = over_http(tmp_path, shave, "duration_s=300", f'federates.own.url="{url}"')
    assert result.failure.startswith("federate 'own' at 60 s: http://127.0.0.1")
    assert "refused" in result.failure


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://127.0.0.1/x", "must be like http://127.0.0.1:8080/step"),
        ("127.0.0.1:80", "must be like"),
        ("http://user:word@127.0.0.1/", "must be like"),
        ("http://127.0.0.1/a b", "has characters that a URL has not"),
        ("http://127.0.0.1:99999/", "Port out of range"),
        ("http://example.org/step", "url is not on this machine"),
        ("http://127.0.0.1.example.org/", "url is not on this machine"),
    ],
)
def test_addresses_that_are_none_or_elsewhere_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HttpControlSettings(url=url, reads=("a.x",), writes=("a.y",))


def test_another_machine_has_to_be_asked_for() -> None:
    settings = HttpControlSettings(url="http://example.org/step", reads=("a.x",), writes=("a.y",), beyond_loopback=True)
    assert settings.url == "http://example.org/step"


def test_an_answer_that_is_cut_short_is_none(tmp_path: Path) -> None:
    def cut(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        text = b'{"setpoints": {"batteries.p_set_kw": [0, 0]}}'
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(text) + 100))
        handler.end_headers()
        handler.wfile.write(text)

    result, _ = over_http(tmp_path, cut, "duration_s=120")
    assert (result.outcome, result.status) == ("failed", 3)
    assert "no answer: IncompleteRead" in result.failure
