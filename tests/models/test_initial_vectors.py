"""Where vectors come from: chance, a file of word vectors, ready-made ones of articles; and words of their bodies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.encoders.initial_vectors import category_vectors, split_category
from recommenders_miner.errors import DataFormatError, HParamsError, RecommendersMinerError
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import load_model
from tests.models.reference_parts import table
from tests.models.toy import IDS, fresh_toy_model, toy_log, toy_model, toy_news, unbuilt, write_files

VECTORS = {"food": [1.0, 0.0], "drink": [0.0, 1.0], "and": [9.0, 9.0], "north": [2.0, 0.0], "america": [0.0, 4.0]}
KNOWN = {"food", "and", "drink", "north", "america", "kids", "tv", "us", "new", "news", "sus", "a", "or"}


@pytest.fixture
def word_vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    words = {**VECTORS, "category": [1.0, 1.0], **{f"word{i}": [float(i), -1.0] for i in range(10)}}
    path.write_text("".join(f"{word} {x} {y}\n" for word, (x, y) in words.items()))
    return str(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("foodanddrink", ["food", "drink"]),
        ("northamerica", ["north", "america"]),
        ("Food-and_Drink", ["food", "drink"]),
        ("kids", ["kids"]),
        ("tv", ["tv"]),
        ("newsus", ["new", "sus"]),
        ("newstv", []),
        ("zzz food", ["food"]),
        ("2020", []),
        ("", []),
    ],
)
def test_category_names_are_cut_into_the_fewest_known_words(name, words):
    assert split_category(name, KNOWN) == words


def test_category_vectors_are_the_mean_of_their_words(word_vectors):
    categories = Vocabulary(["foodanddrink", "northamerica", "unheard"])
    vectors = category_vectors(word_vectors, categories)
    assert vectors.dtype == np.float32
    by_name = dict(zip(categories.tokens, vectors.tolist(), strict=True))
    assert by_name["foodanddrink"] == [0.5, 0.5]
    assert by_name["northamerica"] == [1.0, 2.0]
    assert by_name["unheard"] == [0.0, 0.0]
    assert not vectors[:2].any()


def test_word_vectors_of_another_dimension_than_word_emb_dim_win(word_vectors):
    model = toy_network(word_vectors, word_emb_dim=7)
    embeddings = np.array(model.network.news_encoder.words.embedding.embeddings)
    assert embeddings.shape == (len(model.vocabularies.words), 2)
    assert embeddings[model.vocabularies.words["word3"]].tolist() == [3.0, -1.0]


def test_an_entitys_vector_is_that_of_the_first_file_that_has_it(tmp_path):
    files = {"train.vec": "Q0 1 2\nQ3 3 4\n", "dev.vec": "Q3 5 6\nQ6 7 8\nQ99 0 0\n"}
    first, further = (tmp_path / name for name in files)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    model = fresh_toy_model("hierec", entity_embedding=str(first), more_entities=str(further))
    model.build(model.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news())))
    vectors, known = table(model.network.news_encoder.entities.words), model.vocabularies.entities
    assert vectors[[known[name] for name in ("Q0", "Q3", "Q6")]].tolist() == [[1, 2], [3, 4], [7, 8]]
    further.write_text("Q6 7 8 9\n")
    with pytest.raises(DataFormatError, match="vectors of 3 numbers"):
        model.build(model.vocabularies)


def test_glove_categories_are_fixed_and_learned_ones_are_not(word_vectors):
    fixed = toy_network(word_vectors, category_embedding="glove").network.user_encoder.category_embedding
    assert fixed.trainable_weights == []
    assert fixed.output_dim == 2
    assert toy_model("miner").network.user_encoder.category_embedding.trainable_weights


def test_a_model_that_started_from_a_file_is_loaded_without_it(word_vectors, tmp_path):
    model = toy_network(word_vectors, category_embedding="glove")
    scores = model.score(IDS[:3], IDS)
    model.save(tmp_path / "saved")
    (tmp_path / "vectors.txt").unlink()
    loaded = type(model).load(tmp_path / "saved")
    loaded.set_news(model.news)
    assert loaded.score(IDS[:3], IDS) == pytest.approx(scores, abs=1e-6)


def toy_network(word_vectors, **overrides):
    """A MINER as `build` leaves it, its weights not replaced."""
    model = fresh_toy_model("miner", word_embedding=word_vectors, **overrides)
    return model.build(model.vocabularies)


# === Ready-made vectors and bodies, from articles.parquet ===


def with_articles(folder):
    """The toy world with vectors of all articles but the third, and bodies of all but the second."""
    files = write_files(folder)
    vectors = np.random.default_rng(4).normal(3, 5, (len(IDS), 6)).round(3).tolist()
    bodies = [f"body{place} word{place}" for place in range(len(IDS))]
    vectors[2] = bodies[1] = None
    pq.write_table(pa.table({"id": IDS, "vector": vectors, "body": bodies}), folder / "articles.parquet")
    return files, vectors


def test_ready_made_vectors_go_through_a_small_network(tmp_path):
    files, vectors = with_articles(tmp_path)
    options = {"article_vectors": "vector", "vector_layers": [5], "news_dim": 8, "epochs": 1}
    model = unbuilt("nrms", news_encoder="vectors", **options).fit(*files, verbose=0)
    encoder, known = model.network.news_encoder, np.array([of for of in vectors if of])
    hidden, norm, projection = (
        [np.array(of) for of in layer.weights] for layer in (*encoder.hidden, *encoder.norms, encoder.projection)
    )
    x = np.zeros((len(IDS), 6))
    x[[place != 2 for place in range(len(IDS))]] = (known - known.mean(axis=0)) / known.std(axis=0)
    x = np.maximum(x @ hidden[0] + hidden[1], 0)
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-3) * norm[0] + norm[1]
    assert model.encode_news(IDS)["vector"] == pytest.approx(x @ projection[0] + projection[1], abs=1e-4)
    scores = model.score(IDS[:3], IDS)
    assert len(np.unique(scores)) == len(IDS)
    model.save(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    loaded.set_news(files[0])
    assert np.array_equal(loaded.score(IDS[:3], IDS), scores)
    assert loaded.run_eval(*files) == model.run_eval(*files)


def test_ready_made_vectors_have_to_be_named():
    model = unbuilt("nrms", news_encoder="vectors")
    with pytest.raises(HParamsError, match="needs article_vectors"):
        model.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news()))
    with pytest.raises(HParamsError, match="vector_layers"):
        unbuilt("nrms", news_encoder="vectors", vector_layers=[0])
    assert prepare_hparams("nrms-docvec").news_encoder == "vectors"


@pytest.mark.parametrize(
    "options",
    [
        {"news_encoder": "multi_view", "view_texts": ["title", "body"]},
        {"news_encoder": "joined", "views": ["title", "body"], "news_dim": 8},
    ],
)
def test_words_of_bodies_are_read_where_they_are_wanted(options, tmp_path):
    files, _ = with_articles(tmp_path)
    model = unbuilt("naml", **options)
    data = model.train_iterator.load(*files)
    model.build(model.train_iterator.vocabularies)
    assert "body4" in model.vocabularies.words
    model.set_news(data.news)
    vectors = model.encode_news(IDS)["vector"]
    columns = {name: data.news.extra[name].to_pylist() for name in ("vector", "body")}
    columns["body"][5] = "body7 word7"
    model.set_news(dataclasses.replace(data.news, extra=pa.table(columns)))
    changed = np.abs(model.encode_news(IDS)["vector"] - vectors).max(axis=1) > 1e-6
    assert np.flatnonzero(changed).tolist() == [4]


def test_news_without_bodies_are_named_where_a_model_reads_them(tmp_path):
    files = write_files(tmp_path)
    with pytest.raises(RecommendersMinerError, match=r"no column 'body' in articles\.parquet"):
        unbuilt("naml", view_texts=["title", "body"]).fit(*files)
    with pytest.raises(HParamsError, match="view_texts"):
        unbuilt("naml", view_texts=[])
