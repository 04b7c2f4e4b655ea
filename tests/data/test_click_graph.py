"""The click graph: against plain loops over a log, in another table, and saved."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recommenders_miner.data.click_graph import NEIGHBOURS_FILE, ClickGraph
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError
from tests.models.reference_peers import click_graph

ENTITIES = Vocabulary(["Q1", "Q2", "Q3"])


def table(ids, entities=None):
    entities = entities or [[] for _ in ids]
    written = [json.dumps([{"WikidataId": name} for name in names]) for names in entities]
    return NewsTable.from_columns(ids, [f"title of {name}" for name in ids], title_entities=written)


def log_of(news, histories, users):
    shown = [news.ids[1].as_py()]
    return ImpressionLog.from_columns(
        news, histories=histories, candidates=[shown] * len(histories), labels=[[1]] * len(histories), users=users
    )


def graph_of(log, news, size=2, of_entity=2, entity_size=5):
    return ClickGraph.of_log(log, news, ENTITIES, neighbours=(size, of_entity), entity_size=entity_size)


def before(graph, news):
    """The neighbours of each article that has any, by ids."""
    rows = graph.rows_before(news)
    ids = news.ids.to_pylist()
    return {ids[row]: [ids[other] for other in rows[row] if other] for row in range(len(ids)) if rows[row].any()}


def test_what_most_users_clicked_before_comes_first():
    news = table(["A", "B", "C", "D"])
    histories = [["A", "B"], ["C", "B"], ["C", "B", "D"], ["D", "D", "A"], ["B"], []]
    graph = graph_of(log_of(news, histories, list("uvwxyz")), news)
    assert before(graph, news) == {"B": ["C", "A"], "D": ["B"], "A": ["D"]}
    assert before(graph_of(log_of(news, histories, list("uvwxyz")), news, size=1), news)["B"] == ["C"]


def test_a_user_counts_once_by_the_first_history():
    news = table(["A", "B", "C"])
    graph = graph_of(log_of(news, [["A", "B"], ["A", "B", "C"], ["A", "B"]], ["u", "u", "u"]), news)
    assert before(graph, news) == {"B": ["A"]}


def test_no_edge_leads_from_one_user_to_the_next():
    news = table(["A", "B", "C", "D"])
    graph = graph_of(log_of(news, [["A", "B"], ["C", "D"]], ["u", "v"]), news)
    assert before(graph, news) == {"B": ["A"], "D": ["C"]}


def test_the_graph_is_that_of_a_loop_over_the_log():
    rng = np.random.default_rng(3)
    ids = [f"N{i}" for i in range(9)]
    news = table(ids)
    histories = [rng.choice(ids, rng.integers(0, 8)).tolist() for _ in range(60)]
    log = log_of(news, histories, [f"u{i % 40}" for i in range(60)])
    for size in (1, 3, 20):
        expected, _ = click_graph(log, size)
        graph = graph_of(log, news, size)
        assert before(graph, news) == {ids[node - 1]: [ids[i - 1] for i in of] for node, of in expected.items()}
        assert graph.before.shape[1] == size


def test_entities_are_joined_by_the_edges_of_their_articles():
    news = table(["A", "B", "C"], [["Q1"], ["Q2", "Q3"], ["Q1", "unheard"]])
    graph = graph_of(log_of(news, [["A", "B"], ["A", "B"], ["C", "A"]], ["u", "v", "w"]), news)
    assert graph.of_entity.tolist() == [[0, 0], [0, 0], [3, 4], [2, 0], [2, 0]]
    first = graph_of(log_of(news, [["A", "B"]], ["u"]), news, entity_size=1)
    assert first.of_entity.tolist() == [[0, 0], [0, 0], [3, 0], [2, 0], [0, 0]]
    assert graph.around(np.array([[0, 0], [3, 2], [0, 4]])).tolist() == [[0] * 4, [2, 3, 4, 0], [2, 0, 0, 0]]


def test_another_table_has_the_neighbours_that_it_knows():
    news = table(["A", "B", "C"])
    graph = graph_of(log_of(news, [["A", "C"], ["B", "C"]], ["u", "v"]), news)
    other = table(["X", "C", "B"])
    assert graph.rows_before(other).tolist() == [[0, 0], [0, 0], [0, 3], [0, 0]]


def test_a_log_without_clicks_has_a_graph_without_edges():
    news = table(["A", "B"])
    graph = graph_of(log_of(news, [[], ["A"]], ["u", "v"]), news)
    assert not graph.rows_before(news).any()
    assert not graph.of_entity.any()


def test_a_graph_is_saved_whole(tmp_path):
    news = table(["A", "B", "C"], [["Q1"], ["Q2"], []])
    graph = graph_of(log_of(news, [["A", "B"], ["B", "C"]], ["u", "v"]), news)
    graph.save(tmp_path / "graph")
    again = ClickGraph.load(tmp_path / "graph")
    assert np.array_equal(again.rows_before(news), graph.rows_before(news))
    assert np.array_equal(again.of_entity, graph.of_entity)
    for damaged in ({"before": graph.before[1:]}, {"before": graph.before + 9}, {"of_entity": graph.of_entity - 1}):
        arrays = {"before": graph.before, "of_entity": graph.of_entity, **damaged}
        np.savez(tmp_path / "graph" / NEIGHBOURS_FILE, **arrays)
        with pytest.raises(DataFormatError, match="expected neighbours of"):
            ClickGraph.load(tmp_path / "graph")
