"""The figure of an explanation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.plots.explanation import draw_explanation
from recommenders_miner.plots.style import save_figure
from tests.models.toy import IDS, toy_model, toy_news

CATEGORIES = toy_news().category.to_pylist()[1:]


def explanation(name, history=IDS[:5], **overrides):
    found = toy_model(name, **overrides).explain(history, IDS[4:9], "U1")
    return dataclasses.replace(found, labels=np.eye(len(found.scores), dtype="int8")[found.best_first[1]])


@pytest.mark.parametrize(
    ("name", "axes", "columns"),
    [
        ("miner", ["weight", "score", "attention", "influence"], ["interest 1", "interest 2", "interest 3"]),
        ("hierec", ["weight", "score", "attention", "influence"], ["subtopic", "topic", "user"]),
        ("nrms", ["attention", "influence"], ["attention"]),
        ("lstur", ["influence"], []),
    ],
)
def test_panels_show_what_the_system_has(name, axes, columns):
    found = explanation(name)
    figure = draw_explanation(found, CATEGORIES, candidates=2)
    scale = ["attention"] if "attention" in axes else []
    assert len(figure.axes) == 2 * len(axes) + len(scale)
    labels = [label.get_text() for each in figure.axes for label in each.get_xticklabels()]
    assert [label for label in labels if label in columns] == columns * 2
    titles = [each.get_title(loc="left") for each in figure.axes if each.get_title(loc="left")]
    assert [title.splitlines()[0] for title in titles] == [
        f"1.  score {np.sort(found.scores)[-1]:.3f}",
        f"2.  score {np.sort(found.scores)[-2]:.3f}  ✓ clicked",
    ]


def test_clicks_stand_in_their_rows_the_newest_on_top():
    found = explanation("miner")
    figure = draw_explanation(found, CATEGORIES, candidates=1)
    [labels] = [each.get_yticklabels() for each in figure.axes if "(category0)" in str(each.get_yticklabels())]
    assert [label.get_text().split("  ")[1] for label in labels] == [
        f"({found.categories[news_id]})" for news_id in found.history[::-1]
    ]
    best = found.best_first[0]
    [mesh] = [collection for each in figure.axes[:3] for collection in each.collections]
    assert np.asarray(mesh.get_array()).reshape(5, 3) == pytest.approx(found.attention[best, :, ::-1].T)
    bars = [bar.get_width() for bar in figure.axes[3].patches]
    assert bars == pytest.approx(found.influence[best, ::-1])


def test_interests_that_find_no_room_are_those_that_add_least():
    found = explanation("miner", num_interests=40)
    figure = draw_explanation(found, CATEGORIES, candidates=1)
    drawn = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    strongest = np.argsort(-np.abs(found.contributions[found.best_first[0]]))[: len(drawn)]
    assert len(drawn) == 30
    assert drawn == [f"interest {k + 1}" for k in sorted(strongest)]


@pytest.mark.parametrize("name", ["miner", "lstur"])
@pytest.mark.parametrize("clicks", [1, 5])
def test_everything_is_within_the_picture(name, clicks, tmp_path):
    figure = draw_explanation(explanation(name, IDS[:clicks]), CATEGORIES)
    save_figure(figure, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "map.svg").read_text()[:1000]
    content = figure.get_tightbbox().get_points()
    assert (content >= 0).all()
    assert (content[1] <= figure.get_size_inches()).all()


def test_an_empty_history_is_refused():
    with pytest.raises(RecommendersMinerError, match="no clicks to draw"):
        draw_explanation(explanation("miner", []), CATEGORIES)
