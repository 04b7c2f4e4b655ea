"""The look that plots share, and that each of them can be drawn and says what it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.explain import Explanation
from recommenders_miner.plots.charts import draw_curves, draw_effects, draw_models
from recommenders_miner.plots.one_user import Shown, draw_attention_maps, draw_case_study, draw_explanation
from recommenders_miner.plots.style import category_colors, save_figure, shorten

CATEGORIES = [f"category{i}" for i in range(18)]


@given(st.text(min_size=1), st.integers(2, 60))
@settings(max_examples=50)
def test_shortened_texts_fit_and_short_ones_stay(text, width):
    found = shorten(text, width)
    assert len(found) <= width
    assert found == text or len(text) > width


def test_18_categories_have_18_colours_whatever_their_order():
    colors = category_colors(CATEGORIES)
    assert len(set(colors.values())) == 18
    assert category_colors(reversed(CATEGORIES * 2)) == colors
    assert set(category_colors(map(str, range(30)))) == set(map(str, range(30)))


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def drawn(figure, path):
    path.parent.mkdir(exist_ok=True)
    save_figure(figure, path)
    assert path.with_suffix(".svg").read_text().startswith("<?xml")
    return imread(path)


def test_effects_are_written_with_their_sign_and_the_same_plot_gives_the_same_files(tmp_path):
    def files(name):
        figure = draw_effects(["a", "b"], [0.1, -0.2], [0.1, 0.1], "points", "What")
        assert {"+0.10", "\N{MINUS SIGN}0.20", "a", "b", "points"} <= set(texts(figure))
        assert drawn(figure, tmp_path / name / "figure.png").ndim == 3
        return [(tmp_path / name / f"figure.{suffix}").read_bytes() for suffix in ("png", "svg")]

    assert files("one") == files("two")


def test_only_the_ending_of_a_picture_is_replaced(tmp_path):
    for name in ("nrms-0.5", "a.png", "b.svg"):
        save_figure(draw_effects(["a"], [0.1], [0.1], "points", "What"), tmp_path / name)
    made = [f"{stem}.{suffix}" for stem in ("a", "b", "nrms-0.5") for suffix in ("png", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == made


def test_names_of_curves_that_end_together_do_not_lie_on_each_other(tmp_path):
    curves = [(f"curve{i}", (1, 10, 100), [[i, i], [i, i], [50 + 0.01 * i] * 2]) for i in range(4)]
    figure = draw_curves(curves, "Curves", "x", "y")
    drawn(figure, tmp_path / "f.png")
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    low, high = figure.axes[0].get_ylim()
    assert np.diff(heights).min() > 0.05 * (high - low)


@pytest.mark.parametrize("seeds", [1, 3])
def test_curves_in_panels(tmp_path, seeds):
    curves = [(name, (1, 2), [[50.0] * seeds, [60.0] * seeds]) for name in ("AUC", "nDCG@10")]
    figure = draw_curves(curves, "K", "K", "%", panels=True)
    assert len(figure.axes) == 2
    assert {"AUC, %", "nDCG@10, %"} <= set(texts(figure))
    drawn(figure, tmp_path / "f.png")


def test_a_case_study_marks_the_click_and_shortens_titles(tmp_path):
    history = [Shown("category1", "word " * 40), Shown("category2", "short")]
    tops = {"nrms-plm": history, "miner": [Shown("category3", "this one", clicked=True)]}
    figure = draw_case_study(history, tops, CATEGORIES)
    found = texts(figure)
    assert found.count("✓") == 1
    assert max(map(len, found)) < 80
    assert {"top 2 of nrms-plm", "top 1 of miner", "history, newest first"} <= set(found)
    drawn(figure, tmp_path / "f.png")


def test_attention_maps_have_a_cell_for_each_click_and_interest(tmp_path):
    rng = np.random.default_rng(0)
    maps = {name: rng.dirichlet(np.ones(3), size=4) for name in ("with", "without")}
    figure = draw_attention_maps(maps, ["first", "second", "third"], CATEGORIES[:3], CATEGORIES)
    assert texts(figure).count(f"{maps['with'][1, 2]:.2f}") >= 1
    newest_on_top = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert newest_on_top == ["third  (category2)", "second  (category1)", "first  (category0)"]
    drawn(figure, tmp_path / "f.png")


def test_models_stand_beside_the_paper(tmp_path):
    figure = draw_models(["nrms", "miner"], [70.0, 73.0], [0.2, 0.0], [65.6, 69.6], "demo", {"oracle": 86.0})
    assert {"70.0", "73.0", "65.6", "69.6", "oracle", "here: demo"} <= set(texts(figure))
    drawn(figure, tmp_path / "f.png")


def explanation(names=("interest 1", "interest 2", "interest 3"), attention=True, clicks=5):
    """Five candidates, the second best one clicked."""
    rng = np.random.default_rng(0)
    ids = tuple(f"N{i}" for i in range(clicks + 5))
    weights, scores = rng.dirichlet(np.ones(len(names)), 5), rng.normal(size=(5, len(names)))
    total = (weights * scores).sum(axis=1)
    return Explanation(
        model="miner",
        history=ids[:clicks],
        candidates=ids[clicks:],
        titles={name: f"Title of {name} and more words than a line has " * 2 for name in ids},
        categories={name: CATEGORIES[place % 3] for place, name in enumerate(ids)},
        scores=total,
        interest_names=tuple(names),
        interest_scores=scores,
        interest_weights=weights,
        attention=rng.dirichlet(np.ones(clicks), (5, len(names))) if attention else None,
        influence=rng.normal(size=(5, clicks)),
        labels=np.eye(5, dtype="int8")[np.argsort(-total)[1]],
    )


@pytest.mark.parametrize(
    ("names", "attention", "axes"),
    [
        (("subtopic", "topic", "user"), True, ["weight", "score", "attention", "influence"]),
        (("user",), True, ["attention", "influence"]),
        (("user",), False, ["influence"]),
    ],
)
def test_panels_show_what_the_model_has(names, attention, axes):
    found = explanation(names, attention)
    figure = draw_explanation(found, CATEGORIES, candidates=2)
    assert len(figure.axes) == 2 * len(axes) + attention  # its scale
    columns = names if len(names) > 1 else axes[:-1]
    labels = [label.get_text() for each in figure.axes for label in each.get_xticklabels()]
    assert [label for label in labels if label in columns] == list(columns) * 2
    titles = [each.get_title(loc="left") for each in figure.axes if each.get_title(loc="left")]
    assert [title.splitlines()[0] for title in titles] == [
        f"1.  score {np.sort(found.scores)[-1]:.3f}",
        f"2.  score {np.sort(found.scores)[-2]:.3f}  ✓ clicked",
    ]


def test_clicks_stand_in_their_rows_the_newest_on_top():
    found = explanation()
    figure = draw_explanation(found, CATEGORIES, candidates=1)
    [labels] = [each.get_yticklabels() for each in figure.axes if "(category0)" in str(each.get_yticklabels())]
    assert [label.get_text().split("  ")[1] for label in labels] == [
        f"({found.categories[news_id]})" for news_id in found.history[::-1]
    ]
    best = found.best_first[0]
    [mesh] = [collection for each in figure.axes[:3] for collection in each.collections]
    assert np.asarray(mesh.get_array()).reshape(5, 3) == pytest.approx(found.attention[best, :, ::-1].T)
    assert [bar.get_width() for bar in figure.axes[3].patches] == pytest.approx(found.influence[best, ::-1])


def test_interests_that_find_no_room_are_those_that_add_least():
    found = explanation([f"interest {k + 1}" for k in range(40)])
    figure = draw_explanation(found, CATEGORIES, candidates=1)
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    strongest = np.argsort(-np.abs(found.contributions[found.best_first[0]]))[:30]
    assert labels == [f"interest {k + 1}" for k in sorted(strongest)]


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "clicks"), [(True, 1), (True, 5), (False, 1), (False, 5)])
def test_everything_is_within_the_plot(attention, clicks, tmp_path):
    figure = draw_explanation(explanation(attention=attention, clicks=clicks), CATEGORIES)
    assert drawn(figure, tmp_path / "map.png").ndim == 3
    content = figure.get_tightbbox().get_points()
    assert (content >= 0).all()
    assert (content[1] <= figure.get_size_inches()).all()


def test_an_empty_history_is_refused():
    with pytest.raises(RecommendersMinerError, match="no clicks to draw"):
        draw_explanation(explanation(clicks=0), CATEGORIES)
