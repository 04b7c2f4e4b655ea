"""Explanations: scores taken apart, attention as the papers have it, and what each click adds."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from recommenders_miner.errors import UnknownNewsError
from recommenders_miner.explain import Explanation
from recommenders_miner.models import UNBERTModel
from tests.layers import reference as layers
from tests.models.reference import Reference, dense, personal, relu, table, values
from tests.models.toy import COLD, IDS, MODEL_NAMES, toy_hparams, toy_log, toy_model, toy_news
from tests.tiny_plm import tiny_preset

MODES = ("max", "mean", "weighted")
VARIANTS = [
    *((name, {}) for name in ("libfm", "nrms", "hierec")),
    ("miner", {"aggregation": "weighted"}),
    *(
        pytest.param(name, overrides, marks=pytest.mark.slow)
        for name, overrides in [
            *((name, {}) for name in MODEL_NAMES if name not in ("libfm", "nrms", "hierec", "miner")),
            ("lstur", {"type": "con"}),
            ("miner", {"num_interests": 1}),
            *(("miner", {"aggregation": mode}) for mode in ("max", "mean")),
            *(("miner", {"aggregation": mode, "category_weighting": False}) for mode in MODES),
        ]
    ),
]
variants = pytest.mark.parametrize(("name", "overrides"), VARIANTS, ids=lambda v: str(v).replace("'", ""))
HISTORY, LONG, CANDIDATES = IDS[2:6], IDS[:9], IDS[4:]
HIS_SIZE = 5
WITHOUT_ATTENTION = {"deepfm", "fastformer", "libfm", "lstur", "unbert"}


@variants
def test_scores_interests_and_attention_hold_together(name, overrides):
    for history, user in (([], "U1"), (LONG, "U1"), (HISTORY, "nobody"), (HISTORY, None)):
        if user == "U1" or name in ("lstur", "npa", "libfm"):
            check(toy_model(name, **overrides), name, history, user)


def check(model, name, history, user):
    found = model.explain(history, CANDIDATES, user)
    used = min(len(history), HIS_SIZE)
    count = len(found.interest_names)
    assert found.model == model.hparams.model_type
    assert found.history == tuple(history[-HIS_SIZE:])
    assert found.candidates == tuple(CANDIDATES)
    assert set(found.titles) == set(found.categories) == {*history[-HIS_SIZE:], *CANDIDATES}
    assert found.titles["N7"] == toy_news().title[8].as_py()
    assert found.categories["N7"] == "category1"
    scores = model.score(history, CANDIDATES, user)
    assert found.scores == pytest.approx(scores, rel=1e-5, abs=1e-5)

    assert found.interest_scores.shape == found.interest_weights.shape == (len(CANDIDATES), count)
    assert found.contributions.sum(axis=1) == pytest.approx(found.scores, rel=1e-5, abs=1e-5)
    if name not in ("miner", "hierec", "pp-rec"):
        assert found.interest_names == ("user",)
        assert (found.interest_weights == 1).all()

    if name in WITHOUT_ATTENTION:
        assert found.attention is None
    else:
        assert found.attention.shape == (len(CANDIDATES), count, used)
        assert (found.attention >= 0).all()
        totals = found.attention.sum(axis=-1)
        exists = (used > 0) & (found.interest_weights > 0 if name == "hierec" else np.ones(totals.shape, bool))
        exists &= np.array(found.interest_names) != "popularity"
        assert totals == pytest.approx(exists.astype(float), abs=1e-5)

    assert found.influence.shape == (len(CANDIDATES), used)
    for place in {0, used - 1} if used else ():
        without = [*found.history[:place], *found.history[place + 1 :]]
        expected = scores - model.score(without, CANDIDATES, user)
        assert found.influence[:, place] == pytest.approx(expected, abs=2e-5)


@pytest.mark.slow
def test_unbert_is_explained_by_influence(tmp_path):
    plm = {"plm": tiny_preset(tmp_path), "title_size": 7, "input_size": 64, "plm_dropout": 0.0}
    model = UNBERTModel(toy_hparams("unbert", **plm), seed=3)
    model.build(model.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news())))
    model.set_news(toy_news())
    for history in ([], HISTORY):
        check(model, "unbert", history, None)


def test_interest_weights_are_those_of_the_aggregation():
    weighted, mean, largest = (
        toy_model("miner", aggregation=mode).explain(HISTORY, CANDIDATES) for mode in ("weighted", "mean", "max")
    )
    assert weighted.interest_names == ("interest 1", "interest 2", "interest 3")
    assert weighted.interest_weights.sum(axis=1) == pytest.approx(np.ones(len(CANDIDATES)), rel=1e-5)
    assert len(np.unique(weighted.interest_weights)) > 3
    assert mean.interest_weights == pytest.approx(np.full((len(CANDIDATES), 3), 1 / 3))
    assert (np.sort(largest.interest_weights, axis=1) == [0, 0, 1]).all()
    assert (largest.interest_weights.argmax(axis=1) == largest.interest_scores.argmax(axis=1)).all()


def test_hierec_has_a_subtopic_and_a_topic_only_where_they_were_clicked():
    model = toy_model("hierec", topic_weight=0.6, subtopic_weight=0.1)
    # N4 is category1, sub4; of the clicks N1 and N10 are category1, N1 is sub1 and N10 sub0, and N9 shares neither.
    found = model.explain(["N1", "N10", "N9"], ["N4", "N1", "N2"])
    assert found.interest_names == ("subtopic", "topic", "user")
    expected = [[0, 0.6 * 2 / 3, 0.3], [0.1 / 3, 0.6 * 2 / 3, 0.3], [0, 0, 0.3]]
    assert found.interest_weights == pytest.approx(np.array(expected), rel=1e-5)
    assert not found.interest_scores[0, 0]
    assert found.attention[0, 0].tolist() == [0, 0, 0]
    assert found.attention[1, 0] == pytest.approx([1, 0, 0])
    assert found.attention[1, 1, 2] == 0
    assert found.attention[0, 1] == pytest.approx(found.attention[1, 1])
    assert (found.attention[:, 2] > 0).all()


@pytest.mark.parametrize("category_weighting", [True, False])
def test_miner_attends_as_equations_1_and_5_say(category_weighting):
    model = toy_model("miner", category_weighting=category_weighting)
    found = model.explain(LONG, CANDIDATES)
    reference, history = Reference(model, "miner"), LONG[-HIS_SIZE:]
    projection, codes = values(reference.user_encoder.poly_attention).values()
    clicked = reference.clicked(history)
    for row, candidate in enumerate(CANDIDATES):
        bias = np.zeros(len(history))
        if category_weighting:
            embedding = table(reference.user_encoder.category_embedding)
            [scale] = values(reference.user_encoder.category_bias).values()
            category = {news_id: embedding[reference.label("category", news_id)] for news_id in (*history, candidate)}
            bias = [scale * layers.cosine(category[news_id], category[candidate]) for news_id in history]
        for k, code in enumerate(codes):
            logits = [code @ np.tanh(projection.T @ clicked[j]) + bias[j] for j in range(len(history))]
            assert found.attention[row, k] == pytest.approx(layers.softmax(logits), abs=1e-5)
    assert category_weighting == (not np.allclose(found.attention[0], found.attention[1]))


def test_nrms_attention_is_the_pooling_through_the_heads():
    model = toy_model("nrms")
    encoder = model.userencoder
    vectors = Reference(model, "nrms").clicked(HISTORY)
    kernels, pooling = values(encoder.self_attention), values(encoder.pooling)
    heads = encoder.self_attention.num_heads
    queries, keys, vectors = (
        np.split(vectors @ kernels[f"{kind}_kernel"], heads, axis=-1) for kind in ("query", "key", "value")
    )
    shares = [
        np.array([layers.softmax(row) for row in query @ key.T / math.sqrt(query.shape[1])])
        for query, key in zip(queries, keys, strict=True)
    ]
    attended = [weights @ value for weights, value in zip(shares, vectors, strict=True)]
    hidden = np.tanh(np.concatenate(attended, axis=-1) @ pooling["kernel"] + pooling["bias"])
    expected = np.array(layers.softmax((hidden @ pooling["query"])[:, 0])) @ np.mean(shares, axis=0)
    found = model.explain(HISTORY, CANDIDATES).attention
    assert found == pytest.approx(np.broadcast_to(expected, found.shape), abs=1e-5)


def test_hierec_attention_is_the_product_down_the_tree():
    model = toy_model("hierec")
    reference, encoder = Reference(model, "hierec"), model.userencoder
    history = IDS[1:6]
    topics = [reference.label("category", news_id) for news_id in history]
    subtopics = [(t, reference.label("subcategory", n)) for t, n in zip(topics, history, strict=True)]
    vectors = reference.clicked(history)

    def attend(parts, shares, logit, counts=None):
        """The pooled vector, and its shares of the clicks, from those of its parts."""
        logits = np.array([dense(part, logit)[0] for part in parts])
        if counts is not None:
            logits = logits + [dense(table(encoder.count_embedding)[n], encoder.count_logit)[0] for n in counts]
        weights = np.array(layers.softmax(logits))
        return weights @ np.array(parts), weights @ np.array(shares)

    of_subtopic, of_topic = {}, {}
    for own in dict.fromkeys(subtopics):
        members = [j for j, subtopic in enumerate(subtopics) if subtopic == own]
        vector, shares = attend(vectors[members], np.eye(len(history))[members], encoder.click_logit)
        of_subtopic[own] = vector + table(encoder.subtopic_embedding)[own[1]], shares
    for own in dict.fromkeys(topics):
        parts = [subtopic for subtopic in of_subtopic if subtopic[0] == own]
        counts = [subtopics.count(subtopic) for subtopic in parts]
        vector, shares = attend(*zip(*(of_subtopic[s] for s in parts), strict=True), encoder.subtopic_logit, counts)
        of_topic[own] = vector + table(encoder.topic_embedding)[own], shares
    counts = [topics.count(topic) for topic in of_topic]
    _, of_user = attend(*zip(*of_topic.values(), strict=True), encoder.topic_logit, counts)

    found = model.explain(history, IDS).attention
    for row, candidate in enumerate(IDS):
        topic = reference.label("category", candidate)
        subtopic = topic, reference.label("subcategory", candidate)
        nothing = None, np.zeros(len(history))
        assert found[row, 0] == pytest.approx(of_subtopic.get(subtopic, nothing)[1], abs=1e-5)
        assert found[row, 1] == pytest.approx(of_topic.get(topic, nothing)[1], abs=1e-5)
        assert found[row, 2] == pytest.approx(of_user, abs=1e-5)


def test_naml_pools_the_clicks_by_its_attention():
    """What it pools, from the shares that the explanation gives, scores what the model scores."""
    naml = toy_model("naml")
    reference, found = Reference(naml, "naml"), naml.explain(HISTORY, CANDIDATES)
    news = np.array([reference.news_vector(news_id) for news_id in CANDIDATES])
    expected = np.sum((found.attention[:, 0] @ reference.clicked(HISTORY)) * news, axis=-1)
    assert found.scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_npa_pools_the_clicks_by_its_attention_and_dkn_attends_for_each_candidate():
    npa = toy_model("npa")
    reference, found = Reference(npa, "npa"), npa.explain(HISTORY, CANDIDATES, "U1")
    query = relu(dense(table(npa.userencoder.user_embedding)[npa.vocabularies.users["U1"]], npa.userencoder.word_query))

    def seen(ids):
        words = (
            reference.convolved(reference.encoder.convolution, reference.words(reference.encoder.words, n)) for n in ids
        )
        return np.array([personal(title, query, **values(reference.encoder.pooling)) for title in words])

    expected = np.sum((found.attention[:, 0] @ seen(HISTORY)) * seen(CANDIDATES), axis=-1)
    assert found.scores == pytest.approx(expected, rel=1e-5, abs=1e-5)

    dkn = toy_model("dkn").explain(HISTORY, CANDIDATES)
    assert not np.allclose(dkn.attention[0], dkn.attention[1], atol=1e-3)


@pytest.mark.parametrize("name", ["miner", "hierec"])
def test_a_vector_for_no_clicks_scores_and_no_click_is_explained(name):
    found = toy_model(f"{name} {COLD}").explain([], CANDIDATES)
    assert (found.interest_scores * found.interest_weights).sum(axis=1) == pytest.approx(found.scores, abs=1e-5)
    assert np.ptp(found.scores) > 0
    assert found.influence.size == found.attention.size == 0


def test_unknown_news_are_refused():
    for history, candidates in ((["N99"], IDS), (IDS[:2], ["N99"])):
        with pytest.raises(UnknownNewsError, match="N99"):
            toy_model("nrms").explain(history, candidates)


def test_an_article_may_stand_twice():
    found = toy_model("miner").explain(["N1", "N2", "N1"], ["N3", "N3"])
    assert found.history == ("N1", "N2", "N1")
    assert found.influence[0] == pytest.approx(found.influence[1])
    assert found.influence[0, 0] == pytest.approx(found.influence[0, 2], abs=1e-5)
    assert found.attention[0, :, 0] == pytest.approx(found.attention[0, :, 2], abs=1e-6)


def made(attention=True):
    """Two candidates, two interests, three clicks."""
    return Explanation(
        model="miner",
        history=("N1", "N2", "N3"),
        candidates=("N4", "N5"),
        titles={f"N{n}": f"Title [bold]{n}[/bold] that goes on and on " * 3 for n in range(1, 6)},
        categories=dict(zip(("N1", "N2", "N3", "N4", "N5"), "abcde", strict=True)),
        scores=np.array([0.5, 2.0], "float32"),
        interest_names=("interest 1", "interest 2"),
        interest_scores=np.array([[1.0, 0.0], [4.0, 0.0]], "float32"),
        interest_weights=np.array([[0.5, 0.5], [0.5, 0.5]], "float32"),
        attention=np.array([[[0.1, 0.2, 0.7], [1, 0, 0]]] * 2, "float32") if attention else None,
        influence=np.array([[0.1, -0.3, 0.0], [0.25, 0.5, -1.0]], "float32"),
        labels=np.array([0, 1], "int8"),
    )


def test_json_holds_everything():
    document = json.loads(json.dumps(made().to_json(), allow_nan=False))
    assert [news["id"] for news in document["history"]] == ["N1", "N2", "N3"]
    first, second = document["candidates"]
    assert (first["id"], first["category"], first["clicked"], first["score"]) == ("N4", "d", False, 0.5)
    assert first["interests"][0] == {"name": "interest 1", "score": 1.0, "weight": 0.5, "attention": [0.1, 0.2, 0.7]}
    assert second["influence"] == [0.25, 0.5, -1.0]
    assert made(attention=False).to_json()["candidates"][0]["interests"][0]["attention"] is None


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("attention", [True, False])
def test_the_tables_fit_their_terminal(width, attention):
    console = Console(width=width, file=io.StringIO())
    console.print(made(attention).render())
    text = console.file.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert text.index("2.000") < text.index("0.500")
    assert "clicked" in next(line for line in lines if "N5" in line)
    assert "[bold]1" in text
    assert [line.split()[:2] for line in lines[1:4]] == [["1", "N3"], ["2", "N2"], ["3", "N1"]]
    if attention:
        assert "interest 1  adds 2.000 = weight 0.500 · score 4.000" in text
        assert "70.0 %" in text
        assert "interest 2" not in text  # adds nothing
    else:
        assert "%" not in text
        assert next(line for line in lines if "-1.000" in line).split()[1] == "1"
