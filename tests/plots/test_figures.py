"""The look that figures share, and that each of them can be drawn and says what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from recommenders_miner.plots.attention_maps import draw_attention_maps
from recommenders_miner.plots.case_study import Shown, draw_case_study
from recommenders_miner.plots.curves import Curve, draw_curves
from recommenders_miner.plots.effects import draw_effects
from recommenders_miner.plots.models import draw_systems
from recommenders_miner.plots.style import category_colors, save_figure, shorten

CATEGORIES = [f"category{i}" for i in range(18)]


@given(st.text(min_size=1), st.integers(2, 60))
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
    save_figure(figure, path)
    assert path.with_suffix(".svg").read_text().startswith("<?xml")
    return imread(path)


def test_the_same_figure_gives_the_same_files(tmp_path):
    def files(name):
        figure = draw_effects(["a", "b"], [0.1, -0.2], [0.1, 0.1], "points", "What")
        (tmp_path / name).mkdir()
        save_figure(figure, tmp_path / name / "figure.png")
        return [(tmp_path / name / f"figure.{suffix}").read_bytes() for suffix in ("png", "svg")]

    assert files("one") == files("two")


def test_effects_are_written_with_their_sign(tmp_path):
    figure = draw_effects(["a", "b"], [0.1, -0.2], [0.1, 0.1], "points", "What")
    assert {"+0.10", "\N{MINUS SIGN}0.20", "a", "b", "points"} <= set(texts(figure))
    assert drawn(figure, tmp_path / "f.png").ndim == 3


def test_names_of_curves_that_end_together_do_not_lie_on_each_other(tmp_path):
    curves = [Curve(f"curve{i}", (1, 10, 100), [[i, i], [i, i], [50 + 0.01 * i] * 2]) for i in range(4)]
    figure = draw_curves(curves, "Curves", "x", "y")
    drawn(figure, tmp_path / "f.png")
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    low, high = figure.axes[0].get_ylim()
    assert np.diff(heights).min() > 0.05 * (high - low)


@pytest.mark.parametrize("seeds", [1, 3])
def test_curves_in_panels(tmp_path, seeds):
    curves = [Curve(name, (1, 2), [[50.0] * seeds, [60.0] * seeds]) for name in ("AUC", "nDCG@10")]
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


def test_systems_stand_beside_the_paper(tmp_path):
    figure = draw_systems(["nrms", "miner"], [70.0, 73.0], [0.2, 0.0], [65.6, 69.6], "demo", {"oracle": 86.0})
    assert {"70.0", "73.0", "65.6", "69.6", "oracle", "here: demo"} <= set(texts(figure))
    drawn(figure, tmp_path / "f.png")
