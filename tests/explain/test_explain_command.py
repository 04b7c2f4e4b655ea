"""The command explain, on a toy model that was saved."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app, main
from tests.models.toy import toy_log, toy_model, toy_news, write_files


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / "data"
    (folder / "dev").mkdir(parents=True)
    write_files(folder / "dev")
    for name in ("miner", "lstur"):
        toy_model(name).save(folder.parent / name / "model")
    return folder


def explain(data, name, *arguments):
    command = ["explain", str(data.parent / name), "--data", str(data), *map(str, arguments)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def impression_with(clicks):
    """The number of an impression whose user has so many clicks, with its log."""
    log = toy_log(toy_news())
    lengths = log.histories.lengths[log.history_of]
    return int(np.flatnonzero(lengths == clicks)[0]), log


def test_it_shows_the_history_and_the_best_candidates_and_draws_them(data, tmp_path):
    index, log = impression_with(3)
    output = explain(data, "miner", "--impression", index + 1, "--top", 2, "--figure", tmp_path / "why.png")
    assert (tmp_path / "why.png").exists()
    assert (tmp_path / "why.svg").exists()
    assert f"Impression {index + 1}, user U" in output
    assert f"{len(log.candidates[index])} candidates" in output
    assert "3 clicks, newest first" in output
    assert "interest" in output
    assert sum(line.startswith((" 1  ", " 2  ", " 3  ")) for line in output.splitlines()) == 2
    index, _ = impression_with(0)
    assert "The history is empty." in explain(data, "miner", "--impression", index + 1)


def test_json_is_that_of_the_model_with_its_user(data, tmp_path):
    index, log = impression_with(9)
    output = explain(data, "lstur", "--impression", index + 1, "--top", 3, "--json", "-")
    document = json.loads(output)
    user = log.users[int(log.user_of[index])].as_py()
    assert (document["impression"], document["user"], document["model"]) == (index + 1, user, "lstur")
    ids = toy_news().ids.to_pylist()
    candidates = [ids[row] for row in log.candidates[index]]
    history = [ids[row] for row in range(2, 11)]
    scores = dict(zip(candidates, toy_model("lstur").score(history, candidates, user).tolist(), strict=True))
    found = {candidate["id"]: candidate["score"] for candidate in document["candidates"]}
    assert found == pytest.approx(dict(sorted(scores.items(), key=lambda item: -item[1])[:3]), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert [news["id"] for news in document["history"]] == history[-5:]
    clicked = [candidates[place] for place in np.flatnonzero(log.labels[slice(*log.candidates.offsets[index:][:2])])]
    assert [c["id"] for c in document["candidates"] if c["clicked"]] == [i for i in found if i in clicked]

    output = explain(data, "lstur", "--impression", index + 1, "--top", 3, "--json", tmp_path / "why.json")
    assert json.loads((tmp_path / "why.json").read_text()) == document
    assert "influence" in output


def test_an_unknown_impression_is_one_line_that_names_some(data, capsys, monkeypatch):
    command = ["explain", str(data.parent / "miner"), "--data", str(data), "--impression", "999"]
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", *command])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    message = capsys.readouterr().err.replace("\n", " ")
    assert "behaviors.tsv: no impression has the id 999; the ids of its 14 impressions are 1, 2, 3, 4, 5, …" in message
