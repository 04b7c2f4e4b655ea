"""The synthetic benchmark: its format, its texts, its likeness to MIND, and the order of its baselines."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets.synthetic import benchmark
from recommenders_miner.datasets.synthetic.benchmark import PRESETS, benchmark_name, write_synthetic_benchmark
from recommenders_miner.datasets.synthetic.text import Story, invent_entities, load_topics, splice_titles
from recommenders_miner.errors import FolderExistsError
from recommenders_miner.evaluation.baselines import history_oracle_scores, popularity_scores, random_scores
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.evaluation.submission import read_scores
from tests.command_line import invoke, run
from tests.datasets.mind_like import read, write

VECTORS = {"entity_embedding.vec", "relation_embedding.vec"}
FILES = {"news.tsv", "articles.parquet", "behaviors.tsv", "click_logits.txt"} | VECTORS


def read_split(folder):
    """Read a split again with nothing but pandas."""

    def table(name, columns):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        return pd.DataFrame([line.split("\t") for line in lines], columns=columns.split())

    news = table("news.tsv", "id category subcategory title abstract url title_entities abstract_entities")
    log = table("behaviors.tsv", "id user time history shown")
    log["history"] = log.history.str.split()
    log["candidates"] = log.shown.str.findall(r"(\S+)-[01]\b")
    log["labels"] = [np.array(labels, int) for labels in log.shown.str.findall(r"-([01])\b")]
    logits = (folder / "click_logits.txt").read_text().splitlines()
    log["logits"] = [np.array(line.split(" "), float) for line in logits]
    log["at"] = pd.to_datetime(log.time, format="%m/%d/%Y %I:%M:%S %p")
    return SimpleNamespace(news=news.set_index("id"), log=log)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "tiny"
    write_synthetic_benchmark(out, "tiny", seed=7)
    return out


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "demo"
    write_synthetic_benchmark(out, "demo")
    return SimpleNamespace(folder=out, train=read_split(out / "train"), dev=read_split(out / "dev"))


# === Format ===


@pytest.mark.parametrize("split", ["train", "dev"])
def test_files_have_minds_format(tiny, split):
    assert {path.name for path in (tiny / split).iterdir()} == FILES
    entities, relations = (np.loadtxt(tiny / split / f"{name}_embedding.vec", str) for name in ("entity", "relation"))
    for vectors in (entities, relations):
        assert vectors.shape[1] == 101
        assert np.isfinite(vectors[:, 1:].astype(float)).all()

    found = read_split(tiny / split)
    news, log = found.news, found.log
    assert news.index.is_unique
    assert news.index.str.fullmatch(r"N[1-9]\d*").all()
    assert (news.url == "https://example.org/news/" + news.index).all()
    assert (news[["title", "abstract"]] != "").all(axis=None)
    assert log.id.tolist() == [str(number) for number in range(1, len(log) + 1)]
    assert log.user.str.fullmatch(r"U[1-9]\d*").all()
    assert log.time.str.fullmatch(r"11/\d{1,2}/2019 ([1-9]|1[0-2]):\d\d:\d\d [AP]M").all()
    for ids in [*log.history, *log.candidates]:
        assert set(ids) <= set(news.index)
        assert len(set(ids)) == len(ids)
    assert all(set(labels) == {0, 1} for labels in log.labels)
    sizes = (log.candidates.map(len), log.labels.map(len), log.logits.map(len), log.shown.str.split().map(len))
    assert all((size == sizes[0]).all() for size in sizes)

    texts, columns = [*news.title, *news.abstract], [*news.title_entities, *news.abstract_entities]
    named = [(text, entity) for text, column in zip(texts, columns, strict=True) for entity in json.loads(column)]
    assert len(named) > 50
    for text, entity in named:
        (offset,), (surface,) = entity["OccurrenceOffsets"], entity["SurfaceForms"]
        assert text[offset : offset + len(surface)] == surface == entity["Label"]
        assert (entity["Type"] in {"P", "O", "G"}, entity["Confidence"]) == (True, 1.0)
        assert int(entity["WikidataId"].removeprefix("Q")) > 900_000_000
        assert entity["WikidataId"] in entities[:, 0]


def test_an_entitys_vector_tells_its_subcategory():
    entities = invent_entities(*load_topics(), np.random.default_rng(0))
    vectors, _ = benchmark.draw_vectors(entities, np.random.default_rng(1))
    every = [entity for of_topic in entities for entity in of_topic]
    unit = np.array([vectors[entity.wikidata_id] for entity in every])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    topic = np.array([entity.topic for entity in every])
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    assert (topic[cosine.argmax(1)] == topic).mean() > 0.95
    assert len({entity.name for entity in every}) == len(vectors) == len(every)


def test_description_counts_what_was_written(tiny):
    description = json.loads((tiny / "dataset.json").read_text())
    config, counts = PRESETS["tiny"], description["counts"]
    assert [description[key] for key in ("name", "preset", "seed")] == ["synthetic", "tiny", 7]
    assert description["config"] == dataclasses.asdict(config)
    splits = {split: read_split(tiny / split) for split in ("train", "dev")}
    for split, found in splits.items():
        assert counts[split] == {
            "news": len(found.news),
            "users": found.log.user.nunique(),
            "impressions": len(found.log),
            "candidates": found.log.candidates.map(len).sum(),
            "clicks": found.log.labels.map(sum).sum(),
        }
    everything = pd.concat([found.log for found in splits.values()])
    assert everything.user.nunique() == counts["users"] == config.num_users
    assert len(splits["train"].news.index.union(splits["dev"].news.index)) == counts["news"] == config.num_news


def test_articles_have_bodies_and_were_published_before_they_are_shown(tiny):
    published = {}
    for split in ("train", "dev"):
        news = NewsTable.read(tiny / split / "news.tsv")
        assert news.extra.column_names == ["published", "body"]
        assert news.extra["published"].type == "int64"
        assert news.extra.slice(1).column("body").null_count == 0
        published |= dict(zip(news.ids.to_pylist(), news.extra["published"].to_pylist(), strict=True))
        for body, abstract in zip(news.extra["body"].to_pylist()[1:], news.texts("abstract"), strict=True):
            sentences = re.split(r"(?<=\.) (?=[A-Z\d])", body)
            assert 3 <= len(sentences) <= 6, body
            assert not set(sentences) & set(re.split(r"(?<=\.) (?=[A-Z\d])", abstract))
        for candidates, at in read_split(tiny / split).log[["candidates", "at"]].itertuples(index=False):
            assert max(published[news_id] for news_id in candidates) <= at.timestamp()


def test_a_benchmark_is_named_with_its_version(tiny, tmp_path, data):
    assert benchmark_name(data) == "synthetic benchmark 2, preset tiny"
    assert benchmark_name(data / "train") is None
    old = json.loads((tiny / "dataset.json").read_text()) | {"name": "planted", "format_version": 1}
    write(tmp_path, {"dataset.json": json.dumps(old).encode()})
    assert benchmark_name(tmp_path) == "synthetic benchmark 1, preset tiny"
    for others in (b'["theirs"]', b'{"name": "theirs"}', b"theirs"):
        write(tmp_path, {"dataset.json": others})
        assert benchmark_name(tmp_path) is None


def test_titles_are_spliced_of_halves_of_the_same_subcategory():
    titles = ["a b c", "d e f g", "h i", "only one"]
    stories = [Story(title, f"about {title}", "body", []) for title in titles]
    spliced = splice_titles(stories, np.array([0, 0, 0, 1]), np.random.default_rng(0))
    firsts, seconds = {"a b": "c", "d e": "f g", "h": "i"}, {"c", "f g", "i"}
    for story, own in zip(spliced[:3], firsts, strict=True):
        assert story.title.removeprefix(f"{own} ") in seconds - {firsts[own]}
    assert sorted(word for story in spliced for word in story.title.split()) == sorted(" ".join(titles).split())
    assert [story[1:] for story in spliced] == [story[1:] for story in stories]
    assert spliced[3] == stories[3]


# === Reproducibility and safety ===


def test_same_seed_same_bytes_whatever_the_hash_seed_and_another_seed_other_ones(tiny, tmp_path):
    code = f"from recommenders_miner.datasets.synthetic.benchmark import *; {write_synthetic_benchmark.__name__}"
    command = [sys.executable, "-c", f"{code}({str(tmp_path / 'again')!r}, 'tiny', 7)"]
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    subprocess.run(command, check=True, env=environment, cwd=Path(benchmark.__file__).parents[3])
    first = read(tiny)
    assert read(tmp_path / "again") == first
    write_synthetic_benchmark(tmp_path / "other", "tiny", seed=8)
    other = read(tmp_path / "other")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_a_folder_that_exists_is_refused_unless_it_is_to_be_overwritten(tiny, tmp_path):
    out, messages = write(tmp_path / "out", {"notes.txt": b"mine"}), []
    assert isinstance(invoke("demo-data", out, "--preset", "tiny").exception, FolderExistsError)
    assert read(tmp_path) == {"out/notes.txt": b"mine"}
    run("demo-data", out, "--preset", "tiny", "--seed", 7, "--overwrite")
    assert read(out) == read(tiny)
    (tmp_path / "empty").mkdir()
    write_synthetic_benchmark(tmp_path / "empty", dataclasses.replace(PRESETS["tiny"]), 7, messages.append)
    assert json.loads((tmp_path / "empty" / "dataset.json").read_text())["preset"] == "custom"
    assert (tmp_path / "empty" / "dev" / "news.tsv").read_bytes() == (tiny / "dev" / "news.tsv").read_bytes()
    assert any("300" in message for message in messages)
    assert len(messages) == benchmark.NUM_STEPS


@pytest.mark.parametrize(
    ("preset", "seed", "message"),
    [
        ("mind-large", 42, "Choose one of tiny, demo, spliced, mind-small"),
        ("tiny", -1, "negative"),
        (dataclasses.replace(PRESETS["tiny"], num_news=5), 42, "alive"),
    ],
)
def test_bad_arguments_are_named(tmp_path, preset, seed, message):
    with pytest.raises(ValueError, match=message):
        write_synthetic_benchmark(tmp_path / "out", preset, seed)
    assert list(tmp_path.iterdir()) == []


# === Likeness to MIND (SPEC.md, section 5) ===


@pytest.mark.slow
def test_lengths_follow_the_quantiles_and_clicks_are_as_rare_as_in_mind(demo):
    quantiles = (5, 25, 50, 75, 90, 95)
    history, shown = (demo.train.log[column].map(len) for column in ("history", "candidates"))
    np.testing.assert_allclose(np.percentile(history, quantiles), (2, 7, 18, 40, 76, 111), rtol=0.12, atol=1)
    np.testing.assert_allclose(np.percentile(shown, quantiles), (2, 10, 24, 52, 93, 120), rtol=0.08, atol=1)
    assert (history == 0).mean() == pytest.approx(0.02, abs=0.008)
    for labels in (demo.train.log.labels, demo.dev.log.labels):
        assert labels.map(sum).mean() == pytest.approx(1.51, abs=0.06)
        assert np.concatenate([*labels]).mean() == pytest.approx(0.04, abs=0.003)


@pytest.mark.slow
def test_categories_are_many_and_uneven(demo):
    news = demo.train.news
    categories, subcategories = news.category.value_counts(normalize=True), news.subcategory.value_counts()
    assert len(categories) == 18
    assert len(subcategories) > 100
    assert categories["news"] + categories["sports"] == pytest.approx(0.6, abs=0.05)
    assert subcategories.max() > 50 * subcategories.min()
    assert len(news.groupby(["category", "subcategory"])) == len(subcategories)


@pytest.mark.slow
def test_titles_are_headlines(demo):
    news = demo.train.news
    lengths = news.title.str.split().map(len)
    assert lengths.mean() == pytest.approx(10.7, abs=0.4)
    assert lengths.min() >= 3
    assert np.percentile(lengths, 1) >= 4
    assert np.percentile(lengths, 97) <= 21
    assert lengths.max() > 20
    assert news.title.nunique() > 0.9 * len(news)
    for text in [*news.title, *news.abstract]:
        assert not re.search(r"[{}\t]|  | $|^ ", text)
        assert text[0].isupper() or not text[0].isalpha()


@pytest.mark.slow
def test_titles_tell_their_subcategory_but_not_always(demo):
    """A bag of words, fitted on half of the titles, names most subcategories of the other half, and more by bodies."""
    names = demo.train.news.subcategory
    body = NewsTable.read(demo.folder / "train" / "news.tsv").extra["body"].to_pylist()[1:]
    model = make_pipeline(CountVectorizer(token_pattern=r"\S+"), MultinomialNB(alpha=0.1, fit_prior=False))
    of_titles, of_bodies = (
        model.fit(words[::2], names[::2]).score(words[1:1000:2], names[1:1000:2])
        for words in (demo.train.news.title.tolist(), body)
    )
    assert 0.7 < of_titles < 0.92 < 0.95 < of_bodies


# === Time ===


@pytest.mark.slow
def test_dev_comes_after_train_and_brings_new_articles_and_users(demo):
    train, dev = demo.train.log, demo.dev.log
    assert train["at"].max() < dev["at"].min()
    assert {time.date().isoformat() for time in dev["at"]} == {"2019-11-15"}
    assert 0.05 < (~dev.candidates.explode().isin(demo.train.news.index)).mean() < 0.5
    assert 0 < dev.user.isin(train.user).mean() < 1
    histories = pd.concat([train, dev]).set_index("user").history.map(tuple)
    assert histories.groupby("user").nunique().max() == 1  # as in MIND


@pytest.mark.slow
def test_random_popularity_history_oracle_and_oracle_come_in_this_order(demo):
    """The bounds of a benchmark that leaves models something to learn."""
    files = [Split.find(demo.folder, name) for name in ("train", "dev")]
    train_news, dev_news = (NewsTable.read(split.news) for split in files)
    train, dev = (ImpressionLog.read(split.behaviors, NewsTable.read(split.news)) for split in files)
    scores = {
        "random": random_scores(dev, 0),
        "popularity": popularity_scores(dev, dev_news, train, train_news),
        "click rate so far": click_rates_so_far(demo.train.log, demo.dev.log),
        "history-oracle": history_oracle_scores(dev, dev_news),
        "oracle": read_scores(demo.folder / "dev" / "click_logits.txt", dev).values,
    }
    auc = {name: evaluate_scores(given, dev.labels, dev.candidates.offsets) for name, given in scores.items()}
    auc = {name: evaluation.metrics["group_auc"] for name, evaluation in auc.items()}
    assert list(auc) == sorted(auc, key=auc.get)
    assert auc["random"] == pytest.approx(0.5, abs=0.02)
    assert 0.55 < auc["popularity"] < 0.61
    assert 0.61 < auc["click rate so far"] < 0.65
    assert 0.70 < auc["history-oracle"] < 0.74
    assert 0.84 < auc["oracle"] < 0.87


def click_rates_so_far(train, dev):
    """The click rate of each of dev's candidates in strictly earlier seconds, shrunk towards 4 % by 100 showings."""
    shown, clicked, rates = Counter(), Counter(), {}
    rows = [*train.itertuples(), *dev.itertuples()]
    for _, now in itertools.groupby(sorted(rows, key=attrgetter("at")), attrgetter("at")):
        now = list(now)
        for row in now:  # dev's last, so that they stay
            rates[row.Index] = [(clicked[news_id] + 4) / (shown[news_id] + 100) for news_id in row.candidates]
        for row in now:
            shown.update(row.candidates)
            clicked.update(itertools.compress(row.candidates, row.labels))
    return np.concatenate([rates[row] for row in dev.index])
