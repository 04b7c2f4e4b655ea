"""The command `inspect`: what it prints and writes, its exit status, and the page of plots."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import StepPatch
from typer.testing import CliRunner

from recommenders_miner.cli import app, main
from recommenders_miner.inspection import inspect_data
from recommenders_miner.plots.data_page import draw_data_page
from tests.command_line import run


@pytest.fixture
def faulty(data, tmp_path):
    """The tiny benchmark with a candidate that no news table has, in dev's third line."""
    for split in ("train", "dev"):
        (tmp_path / "faulty" / split).mkdir(parents=True)
        for name in ("news.tsv", "behaviors.tsv"):
            (tmp_path / "faulty" / split / name).write_bytes((data / split / name).read_bytes())
    behaviors = tmp_path / "faulty" / "dev" / "behaviors.tsv"
    lines = behaviors.read_text().splitlines()
    lines[2] += " N9999999-0"
    behaviors.write_text("\n".join(lines) + "\n")
    return tmp_path / "faulty"


def small(folder, categories=("sports", "travel"), times=("11/9/2019 8:00:00 AM",)):
    """Two news of these categories, and an impression at each of the times."""
    folder.mkdir(parents=True)
    lines = [f"N{number}\t{name}\ts\tA title\t\t\t[]\t[]\n" for number, name in enumerate(categories, start=1)]
    (folder / "news.tsv").write_text("".join(lines))
    lines = [f"{number}\tU1\t{time}\tN2\tN1-1 N2-0\n" for number, time in enumerate(times, start=1)]
    (folder / "behaviors.tsv").write_text("".join(lines))
    return folder


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_the_tables_of_sound_data(data):
    output = run("inspect", data)
    counts = json.loads((data / "dataset.json").read_text())["counts"]
    [impressions] = [line.split() for line in output.splitlines() if line.startswith("impressions  ")]
    assert impressions == ["impressions", str(counts["train"]["impressions"]), str(counts["dev"]["impressions"])]
    for title in ("What is there", "Percentiles and mean", "What train does not know", "Categories"):
        assert title in output
    assert output.rstrip().endswith("Nothing that would break training; no warnings.")
    assert max(map(len, output.splitlines())) <= 80


def test_the_files_that_it_writes(data, tmp_path):
    out = tmp_path / "deep" / "out"
    run("inspect", data, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "inspect.json", "inspect.md", "inspect.png", "inspect.svg",
    ]  # fmt: skip
    report = json.loads((out / "inspect.json").read_text())
    assert report["findings"] == []
    assert report["splits"]["dev"]["news"]["title_words"]["percentiles"]["50"] > 3
    page = (out / "inspect.md").read_text()
    assert "| click rate " in page
    assert "**Error" not in page
    assert imread(out / "inspect.png").ndim == 3


def test_what_would_break_training_gives_status_one_and_is_named(faulty, tmp_path):
    result = CliRunner().invoke(app, ["inspect", str(faulty), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    place = f"{faulty / 'dev' / 'behaviors.tsv'}, line 3"
    assert f"Error: {place}: unknown news id among the candidates: 1. Is news.tsv that of" in result.output
    assert "1 error, no warnings: training would break." in result.output
    page = (tmp_path / "out" / "inspect.md").read_text()
    assert f"- **Error:** {faulty / 'dev' / 'behaviors.tsv'}, line 3: unknown news id" in page
    [finding] = json.loads((tmp_path / "out" / "inspect.json").read_text())["findings"]
    assert (finding["is_error"], finding["lines"]) == (True, [3])


def test_a_folder_without_data_is_one_line_and_status_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", "inspect", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "nowhere: holds neither news.tsv and behaviors.tsv" in capsys.readouterr().err


def test_the_page_names_splits_and_figures(data):
    found = texts(draw_data_page(inspect_data(data)))
    assert {"train", "dev", "Impressions", "Popularity", "candidates", "clicks", "users"} <= set(found)
    cold = inspect_data(data).beside_train["dev"].cold_candidates
    assert f"{100 * cold:.1f}" in found


def test_a_page_of_three_splits_without_labels_in_the_last(data, tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        for name in ("news.tsv", "behaviors.tsv"):
            (tmp_path / split / name).write_bytes((data / split.replace("test", "dev") / name).read_bytes())
    behaviors = tmp_path / "test" / "behaviors.tsv"
    behaviors.write_text(behaviors.read_text().replace("-0", "").replace("-1", ""))
    report = inspect_data(tmp_path)
    assert report.errors == ()
    draw_data_page(report).draw_without_rendering()


@pytest.mark.parametrize(
    "behaviors",
    ["1\tU1\t1/1/2020 1:00:00 AM\t\tN1-1\n", "1\tU1\t1/1/2020 1:00:00 AM\t\tN1\n", "x\n"],
    ids=["one click", "no labels", "unreadable"],
)
def test_a_page_of_hardly_anything(tmp_path, behaviors):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "news.tsv").write_text("N1\t\t\t\t\t\t\t\n")
    (tmp_path / "data" / "behaviors.tsv").write_text(behaviors)
    report = inspect_data(tmp_path / "data")
    assert report.errors
    draw_data_page(report).draw_without_rendering()
    assert report.to_markdown()


@pytest.mark.parametrize(
    "times",
    [("1/1/1970 12:00:00 AM", "12/31/2999 11:59:59 PM"), ("11/9/2019 8:00:00 AM", "12/30/9999 8:00:00 AM")],
    ids=["2999", "9999"],
)
def test_a_log_over_centuries_is_drawn_in_few_spans(tmp_path, times):
    figure = draw_data_page(inspect_data(small(tmp_path / "data", times=times)))
    figure.draw_without_rendering()
    drawn = [patch.get_data().values for patch in figure.axes[0].findobj(StepPatch)]
    assert sum(map(len, drawn)) < 5000
    assert all(np.count_nonzero(values) == 2 for values in drawn)


def test_the_last_hour_of_all_dates_is_drawn(tmp_path):
    figure = draw_data_page(inspect_data(small(tmp_path / "data", times=["12/31/9999 11:59:59 PM"])))
    figure.draw_without_rendering()
    assert figure.axes[0].findobj(StepPatch)[0].get_data().values.sum() == 1


@pytest.mark.parametrize(
    ("folder", "categories"),
    [("in$x^$", ("$\\bad$ deals", "$^$")), ("_logs", ("ข่าว", "新闻")), ("新闻", ("ニュース", "खबर"))],
    ids=["dollars", "Thai", "Japanese"],
)
def test_names_of_users_are_drawn_as_they_are(tmp_path, folder, categories):
    data = small(tmp_path / folder, categories)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run("inspect", data, "--out", tmp_path / "out")
        found = texts(draw_data_page(inspect_data(data)))
    assert imread(tmp_path / "out" / "inspect.png").ndim == 3
    assert {folder, *categories} <= set(found)


def test_paths_and_categories_that_look_like_markup_are_printed_as_they_are(tmp_path):
    data = small(tmp_path / "[" / "a] [bold]x :smile:", categories=("[/b]", "[red]x"))
    (data / "behaviors.tsv").write_text("1\tU1\t1/1/2020 1:00:00 AM\t\tN1\n")
    out = tmp_path / "[" / "out] [bold]x :smile:"
    result = CliRunner().invoke(app, ["inspect", str(data), "--out", str(out)])
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert f"Written to {out}: inspect.json" in result.output
    assert f"Error: {data}/behaviors.tsv, line 1: no candidate has a label" in result.output
    assert {"[/b]", "[red]x"} <= {line.split("  ")[0] for line in result.output.splitlines()}
