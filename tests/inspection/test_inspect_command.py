"""The command `inspect`: what it prints and writes, its exit status, and the page of plots."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from recommenders_miner.inspection import inspect_data
from recommenders_miner.inspection.data_page import draw_data_page
from tests.command_line import invoke, run
from tests.inspection.conftest import behavior, news, write


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_the_tables_and_files_of_sound_data(data, tmp_path):
    out = tmp_path / "deep" / "out"
    output = run("inspect", data)
    counts = json.loads((data / "dataset.json").read_text())["counts"]
    [impressions] = [line.split() for line in output.splitlines() if line.startswith("impressions  ")]
    assert impressions == ["impressions", str(counts["train"]["impressions"]), str(counts["dev"]["impressions"])]
    for title in ("What is there", "Percentiles and mean", "What train does not know", "Categories"):
        assert title in output
    assert output.rstrip().endswith("Nothing that would break training; no warnings.")
    assert max(map(len, output.splitlines())) <= 80
    run("inspect", data, "--out", out)
    assert {path.name for path in out.iterdir()} == {f"inspect.{kind}" for kind in ("json", "md", "png", "svg")}
    report = json.loads((out / "inspect.json").read_text())
    assert report["findings"] == []
    assert report["splits"]["dev"]["news"]["title_words"]["percentiles"]["50"] > 3
    page = (out / "inspect.md").read_text()
    assert "| click rate " in page
    assert "**Error" not in page
    assert imread(out / "inspect.png").ndim == 3


def test_what_would_break_training_gives_status_one_and_is_named(data, tmp_path):
    for split in ("train", "dev"):
        shutil.copytree(data / split, tmp_path / split)
    behaviors = tmp_path / "dev" / "behaviors.tsv"
    lines = behaviors.read_text().splitlines()
    lines[2] += " N9999999-0"
    behaviors.write_text("\n".join(lines) + "\n")
    result = invoke("inspect", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"Error: {behaviors}, line 3: unknown news id among the candidates: 1. Is news.tsv that of" in result.output
    assert "1 error, no warnings: training would break." in result.output
    assert f"- **Error:** {behaviors}, line 3: unknown news id" in (tmp_path / "out" / "inspect.md").read_text()
    [finding] = json.loads((tmp_path / "out" / "inspect.json").read_text())["findings"]
    assert (finding["is_error"], finding["lines"]) == (True, [3])


def test_a_page_of_three_splits_without_labels_in_the_last(data, tmp_path):
    for split in ("train", "dev", "test"):
        shutil.copytree(data / split.replace("test", "dev"), tmp_path / split)
    behaviors = tmp_path / "test" / "behaviors.tsv"
    behaviors.write_text(behaviors.read_text().replace("-0", "").replace("-1", ""))
    report = inspect_data(tmp_path)
    assert report.errors == ()
    figure = draw_data_page(report)
    named = {"train", "dev", "test", "Impressions", "Popularity", "candidates", "clicks", "users"}
    assert named | {f"{100 * report.beside_train['dev'].cold_candidates:.1f}"} <= texts(figure)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", [behavior(shown="N1-1"), behavior(shown="N1"), "x"], ids=["one click", "no labels", "unreadable"]
)
def test_a_page_of_hardly_anything(tmp_path, line):
    report = inspect_data(write(tmp_path / "data", ["N1\t\t\t\t\t\t\t"], [line]))
    assert report.errors
    draw_data_page(report).draw_without_rendering()
    assert report.to_markdown()


def test_a_page_goes_to_the_last_second_that_there_is(tmp_path):
    lines = [behavior(), behavior(2, time="9999-12-31 23:59:59")]
    draw_data_page(inspect_data(write(tmp_path / "data", behavior_lines=lines))).draw_without_rendering()


@pytest.mark.slow
def test_a_log_over_centuries_is_drawn_in_few_spans(tmp_path):
    times = "1/1/1970 12:00:00 AM", "12/31/2999 11:59:59 PM"
    lines = [behavior(number, time=time) for number, time in enumerate(times)]
    figure = draw_data_page(inspect_data(write(tmp_path / "data", behavior_lines=lines)))
    figure.draw_without_rendering()
    drawn = [patch.get_data().values for patch in figure.axes[0].findobj(StepPatch)]
    assert sum(map(len, drawn)) < 5000
    assert all(np.count_nonzero(values) == 2 for values in drawn)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "categories"),
    [("in$x^$", ("$\\bad$ deals", "$^$")), ("_logs", ("ข่าว", "新闻"))],
    ids=["dollars", "Asia"],
)
def test_names_of_users_are_drawn_as_they_are(tmp_path, folder, categories):
    data = write(tmp_path / folder, [news("N1", categories[0]), news("N2", categories[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run("inspect", data, "--out", tmp_path / "out")
    assert imread(tmp_path / "out" / "inspect.png").ndim == 3
    assert {folder, *categories} <= texts(draw_data_page(inspect_data(data)))


def test_paths_and_categories_that_look_like_markup_are_printed_as_they_are(tmp_path):
    categories = [news("N1", "[/b]"), news("N2", "[red]x")]
    data = write(tmp_path / "[" / "a] [bold]x :smile:", categories, [behavior(shown="N1")])
    result = invoke("inspect", data)
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert f"Error: {data}/behaviors.tsv, line 1: no candidate has a label" in result.output
    assert {"[/b]", "[red]x"} <= {line.split("  ")[0] for line in result.output.splitlines()}
