"""The server as processes that are asked over sockets."""

# ruff: noqa: F811
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving.fake_recommender import event, made, until, write_export  # noqa: F401

pytestmark = pytest.mark.slow

RUN = """
import sys
from recommenders_miner.serving import server
from recommenders_miner.serving.settings import Settings
sys.exit(server.run(Settings.from_environment(), "tests.serving.fake_recommender:app"))
"""


def ask(port, path, body=None, method=None):
    """Return the status and the document that a server answers; 0 and None where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def running(made, log):
    """Lend a server in processes of its own, and its port."""
    made = replace(made, port=free_port())
    environment = os.environ | made.to_environment()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN], cwd=Path(__file__).parents[2], env=environment, stdout=output, stderr=output
        )
    try:
        yield process, made.port
    finally:
        process.terminate()
        process.wait(60)


def ready(port, log, workers):
    until(lambda: log.read_text().count("Ready: ") >= workers, 120)
    until(lambda: ask(port, "/readyz")[0] == 200)


def test_what_one_process_is_told_all_know_within_a_second(made, tmp_path):
    log = tmp_path / "output"
    with running(replace(made, workers=2), log) as (_, port):
        ready(port, log, 2)
        for number in range(3):
            assert ask(port, f"/v1/articles/new{number}", {"title": f"New {number}"}, "PUT")[0] == 200
            time.sleep(1)
            # A connection each: the kernel spreads them over both processes.
            found = [ask(port, f"/v1/articles?q=new%20{number}")[1]["total"] for _ in range(40)]
            assert found == [1] * 40
        write_export(made.exports[0], "fake-c")
        seen = [{model["name"] for model in ask(port, "/v1/models")[1]["models"]}]
        end = time.monotonic() + 10
        while time.monotonic() < end and seen[-20:] != [{"fake-c", "fake-b"}] * 20:
            status, answer = ask(port, "/v1/models")
            assert status == 200, "no request is dropped"
            seen.append({model["name"] for model in answer["models"]})
        assert seen[-20:] == [{"fake-c", "fake-b"}] * 20
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        [line] = [line for line in lines if 'request_seconds_count{method="PUT"' in line]
        assert line.endswith(" 3.0"), "the figures of all processes are summed"


def test_a_kill_loses_no_acknowledged_click_and_leaves_no_process(made, tmp_path):
    log, clicks = tmp_path / "output", []
    for killed in range(3):
        with running(replace(made, workers=2), log) as (process, port):
            ready(port, log, 2 * (killed + 1))
            for number in range(20):
                click = event(f"{killed}-{number}", article=f"N{number}", time=1000 * killed + number)
                assert ask(port, "/v1/events", {"events": [click]})[0] == 200
                clicks.append(click["article"])
            process.send_signal(signal.SIGKILL)
            process.wait()
            until(lambda: ask(port, "/healthz")[0] == 0, 30)
    with running(made, log) as (_, port):
        ready(port, log, 7)
        assert [click["article"] for click in ask(port, "/v1/users/u1")[1]["clicks"]] == clicks


def test_slow_clients_keep_nobody_out(made, tmp_path):
    log = tmp_path / "output"
    with running(replace(made, threads=1, waiting=1, body_seconds=2), log) as (_, port):
        ready(port, log, 1)
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for client in slow:
            head = (
                "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            client.sendall(head.encode())
        for _ in range(5):
            assert ask(port, "/v1/recommend", {"history": ["N1"]})[0] == 200
        for client in slow:
            client.settimeout(20)
            answer = b""
            while chunk := client.recv(4096):  # until the server closes the connection
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 408 ")
            client.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_load_ends_and_says_why(made, tmp_path, workers):
    log = tmp_path / "output"
    write_export(made.exports[1], "fake-b", fails="it is damaged")
    with running(replace(made, workers=workers), log) as (process, _):
        assert process.wait(120) != 0
    assert "it is damaged" in log.read_text()


def test_no_request_that_the_document_allows_or_forbids_breaks_the_server(made, tmp_path):
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    import hypothesis
    from schemathesis import GenerationMode, checks

    log = tmp_path / "output"
    with running(made, log) as (_, port):
        ready(port, log, 1)
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        wanted = (
            checks.not_a_server_error,
            checks.response_schema_conformance,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.negative_data_rejection,
        )
        tried = 0
        for operation in (found.ok() for found in schema.get_all_operations()):
            for mode in GenerationMode:
                strategy = operation.as_strategy(generation_mode=mode)

                @hypothesis.given(strategy)
                @hypothesis.settings(
                    max_examples=40, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
                )
                def holds(case):
                    nonlocal tried
                    tried += 1
                    answer = case.call()
                    # Schemathesis does not count 413 among the refusals.
                    case.validate_response(answer, checks=wanted[: -1 if answer.status_code == 413 else None])

                with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing can be sent that is wrong
                    holds()
        assert tried > 400
    assert "Traceback" not in log.read_text()
