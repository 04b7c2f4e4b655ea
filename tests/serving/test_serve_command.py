from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import recommenders_miner.cli.serve as command
from recommenders_miner.serving.settings import Settings
from tests.command_line import invoke
from tests.serving.fake_recommender import until, write_export, write_news


class Started(Exception):
    """The program that the command becomes."""


@pytest.fixture
def started(monkeypatch):
    """Return a function that runs the command and returns the program, its arguments and the settings it finds."""

    def replaced(program, arguments, environment):
        raise Started(program, arguments, environment)

    monkeypatch.setattr(os, "execve", replaced)
    monkeypatch.delenv("RECOMMENDERS_MINER_TOKEN", raising=False)

    def run(*arguments):
        result = invoke("serve", *arguments)
        assert isinstance(result.exception, Started), result.output
        program, words, environment = result.exception.args
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return program, words, Settings.from_environment(), environment

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with an export, a run and news."""
    monkeypatch.chdir(tmp_path)
    write_export(Path("export"), "fake")
    for saved in ("run/model", "saved"):
        Path(saved).mkdir(parents=True)
        Path(saved, "model.keras").write_bytes(b"not read")
    write_news(Path("news.tsv"), 3)
    return tmp_path


def test_a_server_is_started_with_what_the_options_say(folder, started):
    program, words, found, _ = started("export", "--news", "news.tsv")
    assert (program, words) == (sys.executable, [sys.executable, "-m", "recommenders_miner.serving.server"])
    assert found == Settings((Path("export"),), Path("news.tsv"), "sqlite:///recommenders-miner.sqlite")
    options = "--store redis://h:1/2 --log log --port 9 --workers 3 --shares 0.9,0.1 --explore 0.1 --snapshot snap"
    _, _, found, _ = started("export", "export", "--news", "news.tsv", "--host", "::1", *options.split())
    assert found == Settings(
        exports=(Path("export"),) * 2,
        news=Path("news.tsv"),
        store="redis://h:1/2",
        shares=(0.9, 0.1),
        log=Path("log"),
        snapshot=Path("snap"),
        explore=0.1,
        host="::1",
        port=9,
        workers=3,
    )
    assert started(*["export"] * 4, "--news", "news.tsv")[2].shares == (0.25,) * 4


def test_policies_by_name_and_by_arm(folder, started):
    Path("front.yaml").write_text("quotas: [{column: category, value: sports, at_most: 4}]")
    Path("faulty.yaml").write_text("quota: []")
    front = ("export", "export", "--news", "news.tsv", "--policy", "front=front.yaml")
    assert started(*front)[2].policies == {"front": Path("front.yaml")}
    found = started(*front, "--arms", "-,front")[2]
    assert (found.arm_policies, found.shares) == ((None, "front"), (0.5, 0.5))
    for wrong, said in (
        (("--arms", "front"), "1 for 2 models"),
        (("--arms", "front,back"), "there is no --policy back=FILE"),
        (("--policy", "front=front.yaml"), "front is there twice"),
        (("--policy", "front.yaml"), "expected NAME=FILE"),
        (("--policy", "back=faulty.yaml"), "Did you mean 'quotas'?"),
        (("--policy", "back=missing.yaml"), "cannot be read"),
    ):
        result = invoke("serve", *front, *wrong)
        assert result.exit_code
        assert said in " ".join((result.output + str(result.exception)).replace("│", "").split())


def test_a_token_comes_from_a_file_or_the_environment(folder, started, monkeypatch):
    Path("token").write_text("from-a-file\r\n", encoding="utf-8-sig")  # as Notepad saves it
    monkeypatch.setenv("RECOMMENDERS_MINER_TOKEN", "from-outside")
    assert started("export", "--news", "news.tsv", "--host", "0.0.0.0")[2].token == "from-outside"
    _, _, found, environment = started("export", "--news", "news.tsv", "--token-file", "token")
    assert found.token == "from-a-file"
    assert [name for name, value in environment.items() if "from-a-file" in value] == ["RECOMMENDERS_MINER_TOKEN"]
    assert "from-a-file" not in repr(found)


def test_a_run_is_exported_once_in_a_process_of_its_own(folder, started, monkeypatch):
    exported = []

    def export(words, **options):
        exported.append(words[-2:])
        write_export(Path(words[-1]), "fake")
        return subprocess.CompletedProcess(words, 0, stderr="")

    monkeypatch.setattr(command.subprocess, "run", export)
    for _ in range(2):
        found = started("run", "saved", "--news", "news.tsv")[2]
        assert found.exports == (Path("run/export"), Path("saved/export"))
        assert exported == [["run/model", "run/export"], ["saved", "saved/export"]]


def test_a_run_that_cannot_be_exported_is_named(folder, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stderr="a warning\nsaved/model: it is damaged.\n")
    monkeypatch.setattr(command.subprocess, "run", lambda *arguments, **options: failed)
    result = invoke("serve", "saved", "--news", "news.tsv")
    assert str(result.exception) == "saved: could not be exported. saved/model: it is damaged."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("export --shares 0.5,0.5", "2 for 1 models"),
        ("export export --shares 0.5,0.6", "whose sum is 1"),
        ("export export --shares 1.5,-0.5", "above 0"),
        ("export export --shares 0.5,nan", "above 0"),
        ("export --store mysql://x", "sqlite:///PATH"),
        ("export --store sqlite:///:memory: --workers 2", "every process"),
        ("export --host 0.0.0.0", "--token-file"),
        ("export --token-file empty", "expected a token"),
        ("export --token-file none", "none"),
        ("export --explore nan", "--explore"),
        ("none", "none"),
        ("empty-folder", "neither an export"),
        ("export --log empty", "empty: not written"),
    ],
)
def test_what_is_wrong_is_said_before_a_start(folder, monkeypatch, options, said):
    monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("it has started"))
    monkeypatch.delenv("RECOMMENDERS_MINER_TOKEN", raising=False)
    Path("empty").touch()
    Path("empty-folder").mkdir()
    result = invoke("serve", *options.split(), "--news", "news.tsv")
    assert result.exit_code in (1, 2)
    assert said in " ".join(f"{result.output} {result.exception}".replace("│", " ").split())


def test_missing_packages_are_named(folder, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else name)
    result = invoke("serve", "export", "--news", "news.tsv")
    assert str(result.exception) == "uvicorn must be installed to serve: pip install 'recommenders-miner[serve]'."


@pytest.mark.slow
def test_a_trained_run_answers(data, trained, tmp_path):
    """The whole way: the run is exported, its export served, and a click changes what is recommended."""
    code = "import recommenders_miner.cli.serve; from recommenders_miner.cli import main; main()"
    words = ["serve", trained, "--news", data / "dev" / "news.tsv", "--port", "0", "--store", f"sqlite:///{tmp_path}/s"]
    with open(tmp_path / "output", "wb") as output:
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=output, stderr=output)

    def said():
        assert process.poll() is None, (tmp_path / "output").read_text()
        return (tmp_path / "output").read_text()

    def ask(path, body=None):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(address + path, body and json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    try:
        until(lambda: "Ready: miner-" in said() and "running on" in said(), 300)
        address = re.search(r"http://[\d.:]+", said())[0]
        articles = ask("/v1/articles?limit=1000")
        assert articles["total"] == len((data / "dev" / "news.tsv").read_text().splitlines())
        cold = ask("/v1/recommend", {"user": "U1"})
        assert {article["why"] for article in cold["articles"]} == {"popular"}
        clicked = cold["articles"][0]["id"]
        ask("/v1/events", {"events": [{"id": "e", "user": "U1", "article": clicked, "type": "click"}]})
        warm = ask("/v1/recommend", {"user": "U1"})["articles"]
        assert {article["why"] for article in warm} == {"model"}
        assert clicked not in [article["id"] for article in warm]
        explained = ask("/v1/explain", {"user": "U1", "articles": [warm[0]["id"]]})["candidates"][0]
        assert explained["score"] == pytest.approx(warm[0]["score"], abs=1e-4)
        assert ask("/v1/map", {"user": "U1"})["interests"]
    finally:
        process.terminate()
        process.wait(60)
