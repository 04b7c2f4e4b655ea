"""The planted benchmark: its format, its likeness to MIND, and the order of its baselines."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recommenders_miner.datasets.synthetic import benchmark as planted
from recommenders_miner.datasets.synthetic import text as planted_text
from recommenders_miner.datasets.synthetic import world as planted_world
from recommenders_miner.datasets.synthetic.benchmark import PRESETS, PlantedConfig, write_synthetic_benchmark

FILES = {"news.tsv", "behaviors.tsv", "entity_embedding.vec", "relation_embedding.vec", "click_logits.txt"}


def read_tsv(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def read_split(folder: Path) -> dict:
    """A split read again with nothing but plain Python."""
    impressions = []
    for row, logits in zip(
        read_tsv(folder / "behaviors.tsv"),
        (folder / "click_logits.txt").read_text().splitlines(),
        strict=True,
    ):
        number, user, time, history, slate = row
        candidates, labels = zip(*(item.rsplit("-", 1) for item in slate.split(" ")), strict=True)
        impressions.append(
            {
                "id": int(number),
                "user": user,
                "time": datetime.strptime(time, "%m/%d/%Y %I:%M:%S %p"),
                "raw_time": time,
                "history": history.split(),
                "candidates": candidates,
                "labels": [int(label) for label in labels],
                "logits": [float(logit) for logit in logits.split(" ")],
            }
        )
    news = read_tsv(folder / "news.tsv")
    return {"news": {row[0]: row for row in news}, "rows": news, "impressions": impressions}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted") / "tiny"
    write_synthetic_benchmark(out, "tiny", seed=7)
    return out


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("planted") / "demo"
    write_synthetic_benchmark(out, "demo")
    return {split: read_split(out / split) for split in ("train", "dev")}


@pytest.fixture(scope="module")
def world():
    topics, _ = planted_text.load_topics()
    categories = sorted({topic.category for topic in topics})
    return planted_world.simulate(
        PRESETS["demo"],
        np.array([topic.share for topic in topics]),
        np.array([categories.index(topic.category) for topic in topics]),
        np.random.SeedSequence(3),
        progress=lambda message: None,
    )


# === Format ===


@pytest.mark.parametrize("split", ["train", "dev"])
def test_files_have_mind_format(tiny, split):
    assert {path.name for path in (tiny / split).iterdir()} == FILES
    assert {len(row) for row in read_tsv(tiny / split / "news.tsv")} == {8}
    assert {len(row) for row in read_tsv(tiny / split / "behaviors.tsv")} == {5}
    for name in ("entity_embedding.vec", "relation_embedding.vec"):
        rows = read_tsv(tiny / split / name)
        assert rows
        assert {len(row) for row in rows} == {101}
        assert np.isfinite(np.array([row[1:] for row in rows], float)).all()

    read = read_split(tiny / split)
    assert len(read["news"]) == len(read["rows"])
    for news_id, row in read["news"].items():
        assert re.fullmatch(r"N[1-9]\d*", news_id)
        assert row[5] == f"https://example.org/news/{news_id}"
        assert row[3]
        assert row[4]
    assert [impression["id"] for impression in read["impressions"]] == list(range(1, len(read["impressions"]) + 1))
    for impression in read["impressions"]:
        assert re.fullmatch(r"U[1-9]\d*", impression["user"])
        assert re.fullmatch(r"11/\d{1,2}/2019 ([1-9]|1[0-2]):\d\d:\d\d [AP]M", impression["raw_time"])
        assert set(impression["history"]) | set(impression["candidates"]) <= read["news"].keys()
        assert len(set(impression["candidates"])) == len(impression["candidates"])
        assert len(set(impression["history"])) == len(impression["history"])
        assert set(impression["labels"]) == {0, 1}
        assert len(impression["logits"]) == len(impression["candidates"])


def test_entities_stand_where_they_say(tiny):
    vectors = {row[0] for row in read_tsv(tiny / "train" / "entity_embedding.vec")}
    seen = 0
    for row in read_tsv(tiny / "train" / "news.tsv"):
        for text, column in ((row[3], row[6]), (row[4], row[7])):
            for entity in json.loads(column):
                (offset,), (surface,) = entity["OccurrenceOffsets"], entity["SurfaceForms"]
                assert text[offset : offset + len(surface)] == surface == entity["Label"]
                assert entity["Type"] in {"P", "O", "G"}
                assert entity["Confidence"] == 1.0
                assert int(entity["WikidataId"].removeprefix("Q")) > 900_000_000
                assert entity["WikidataId"] in vectors
                seen += 1
    assert seen > 50


def test_an_entitys_vector_tells_its_subcategory():
    topics, language = planted_text.load_topics()
    entities = planted_text.invent_entities(topics, language, np.random.default_rng(0))
    vectors = planted._EntityVectors(entities, np.random.default_rng(1))
    unit = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    topic = np.array([entity.topic for entity in vectors.entities])
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    assert (topic[cosine.argmax(1)] == topic).mean() > 0.95
    names = [entity.name for entity in vectors.entities]
    assert len(set(names)) == len(names)


def test_description_counts_what_was_written(tiny):
    description = json.loads((tiny / "dataset.json").read_text())
    config = PRESETS["tiny"]
    assert description["name"] == "planted"
    assert (description["preset"], description["seed"]) == ("tiny", 7)
    assert description["config"] == dataclasses.asdict(config)
    users, news = set(), set()
    for split in ("train", "dev"):
        read = read_split(tiny / split)
        counts = description["counts"][split]
        visitors = {impression["user"] for impression in read["impressions"]}
        assert counts == {
            "news": len(read["news"]),
            "users": len(visitors),
            "impressions": len(read["impressions"]),
            "candidates": sum(len(impression["candidates"]) for impression in read["impressions"]),
            "clicks": sum(sum(impression["labels"]) for impression in read["impressions"]),
        }
        users |= visitors
        news |= read["news"].keys()
    assert len(users) == description["counts"]["users"] == config.num_users
    assert len(news) == description["counts"]["news"] == config.num_news


# === Reproducibility and safety ===


def test_same_seed_same_bytes_whatever_the_hash_seed(tiny, tmp_path):
    script = (
        "import sys; from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark as write;"
        "write(sys.argv[1], 'tiny', seed=7)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    root = Path(planted.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again")], check=True, env=environment, cwd=root)
    assert digests(tmp_path / "again") == digests(tiny)


def test_another_seed_gives_other_data(tiny, tmp_path):
    write_synthetic_benchmark(tmp_path / "other", "tiny", seed=8)
    first, second = digests(tiny), digests(tmp_path / "other")
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_the_same_benchmark_is_not_written_twice(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    messages = []
    write_synthetic_benchmark(tiny, "tiny", seed=7, progress=messages.append)
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before
    assert messages == []


def test_refuses_to_overwrite(tiny, tmp_path):
    with pytest.raises(FileExistsError, match=re.escape(str(tiny))):
        write_synthetic_benchmark(tiny, "tiny", seed=8)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path))):
        write_synthetic_benchmark(tmp_path, "tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(FileExistsError):
        write_synthetic_benchmark(tmp_path / "notes.txt", "tiny")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset.json").write_text("{")
    with pytest.raises(FileExistsError):
        write_synthetic_benchmark(tmp_path / "broken", "tiny")


def test_an_empty_folder_is_taken_and_progress_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    messages = []
    write_synthetic_benchmark(tmp_path / "empty", "tiny", progress=messages.append)
    assert (tmp_path / "empty" / "dataset.json").is_file()
    assert any("300" in message for message in messages)
    assert len(messages) == planted.NUM_STEPS


def test_a_crash_leaves_nothing(tmp_path):
    def crash(message):
        if message == "writing dev":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic_benchmark(tmp_path / "out", "tiny", progress=crash)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="mind-small"):
        write_synthetic_benchmark(tmp_path / "out", "mind-large")
    with pytest.raises(ValueError, match="negative"):
        write_synthetic_benchmark(tmp_path / "out", "tiny", seed=-1)
    with pytest.raises(ValueError, match="one impression"):
        PlantedConfig(num_news=300, num_users=100, num_train_impressions=50, num_dev_impressions=50)
    starved = dataclasses.replace(PRESETS["tiny"], num_news=5)
    with pytest.raises(ValueError, match="alive"):
        write_synthetic_benchmark(tmp_path / "out", starved)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_of_ones_own(tmp_path):
    config = dataclasses.replace(PRESETS["tiny"], num_users=40, interest_weight=20.0, noise_scale=0.5)
    write_synthetic_benchmark(tmp_path / "out", config)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (description["preset"], description["config"]["num_users"]) == ("custom", 40)


def test_mind_small_has_its_published_size():
    config = PRESETS["mind-small"]
    assert (config.num_news, config.num_users) == (65_238, 50_000)
    assert config.num_train_impressions + config.num_dev_impressions == 230_117


# === Likeness to MIND (SPEC.md, section 5) ===


def test_lengths_follow_the_quantiles(demo):
    train = demo["train"]["impressions"]
    quantiles = (5, 25, 50, 75, 90, 95)
    history = np.percentile([len(impression["history"]) for impression in train], quantiles)
    np.testing.assert_allclose(history, (2, 7, 18, 40, 76, 111), rtol=0.12, atol=1)
    candidates = np.percentile([len(impression["candidates"]) for impression in train], quantiles)
    np.testing.assert_allclose(candidates, (2, 10, 24, 52, 93, 120), rtol=0.08, atol=1)
    assert np.mean([not impression["history"] for impression in train]) == pytest.approx(0.02, abs=0.008)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_clicks_are_as_rare_as_in_mind(demo, split):
    labels = [impression["labels"] for impression in demo[split]["impressions"]]
    assert np.mean([sum(row) for row in labels]) == pytest.approx(1.51, abs=0.06)
    assert sum(map(sum, labels)) / sum(map(len, labels)) == pytest.approx(0.04, abs=0.003)


def test_a_few_news_take_most_showings():
    """At MIND's density of news: the 100 most shown 20 %, the 1,000 most shown 74 %."""
    config = dataclasses.replace(
        PRESETS["mind-small"], num_users=1000, num_train_impressions=5000, num_dev_impressions=100
    )
    topics, _ = planted_text.load_topics()
    shares = np.array([topic.share for topic in topics])
    one_category = np.zeros(len(topics), int)
    train = planted_world.simulate(config, shares, one_category, np.random.SeedSequence(0), lambda _: None).train
    showings = np.sort(np.bincount(train.candidates.values))[::-1] / len(train.candidates.values)
    assert showings[:100].sum() == pytest.approx(0.20, abs=0.03)
    assert showings[:1000].sum() == pytest.approx(0.74, abs=0.04)


def test_categories_are_many_and_uneven(demo):
    rows = demo["train"]["rows"]
    categories, subcategories = Counter(row[1] for row in rows), Counter(row[2] for row in rows)
    assert len(categories) == 18
    assert len(subcategories) > 100
    assert (categories["news"] + categories["sports"]) / len(rows) == pytest.approx(0.6, abs=0.05)
    assert max(subcategories.values()) > 50 * min(subcategories.values())
    assert len({(row[1], row[2]) for row in rows}) == len(subcategories)


def test_titles_are_headlines(demo):
    titles = [row[3] for row in demo["train"]["rows"]]
    lengths = np.array([len(title.split()) for title in titles])
    assert lengths.mean() == pytest.approx(10.7, abs=0.4)
    assert lengths.min() >= 3
    assert np.percentile(lengths, 1) >= 4
    assert np.percentile(lengths, 97) <= 21
    assert lengths.max() > 20
    assert len(set(titles)) > 0.9 * len(titles)
    for text in [*titles, *(row[4] for row in demo["train"]["rows"])]:
        assert not re.search(r"[{}\t]|  | $|^ ", text)
        assert text[0].isupper() or not text[0].isalpha()


def test_titles_tell_their_subcategory_but_not_always(demo):
    """A bag of words, fitted on half of the titles, names most subcategories of the other half, not all."""
    rows = demo["train"]["rows"]
    counts, totals = {}, Counter()
    for row in rows[::2]:
        words = row[3].lower().split()
        counts.setdefault(row[2], Counter()).update(words)
        totals.update(words)
    vocabulary = len(totals)
    hits = []
    for row in rows[1:1000:2]:
        words = row[3].lower().split()
        scores = {
            name: sum(np.log((count[word] + 0.1) / (count.total() + 0.1 * vocabulary)) for word in words)
            for name, count in counts.items()
        }
        hits.append(max(scores, key=scores.get) == row[2])
    assert 0.7 < np.mean(hits) < 0.97


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("miss the cut", "misses the cut"),
        ("carry the torch", "carries the torch"),
        ("buy a yacht", "buys a yacht"),
        ("go blonde", "goes blonde"),
        ("catch", "catches"),
        ("unify the belts", "unifies the belts"),
        ("fix it", "fixes it"),
        ("win", "wins"),
    ],
)
def test_third_person(phrase, expected):
    assert planted_text.third_person(phrase) == expected


def test_word_lists_are_complete():
    topics, _ = planted_text.load_topics()
    assert sum(topic.share for topic in topics) == pytest.approx(1)
    for topic in topics:
        for slot, phrases in topic.own.items():
            # Two different phrases of each kind must be there for every template.
            assert len(set(phrases) | set(topic.shared[slot])) >= 3, (topic.name, slot)
            assert all(isinstance(phrase, str) for phrase in phrases), (topic.name, slot)
        own_words = {word for phrases in topic.own.values() for phrase in phrases for word in phrase.split()}
        assert len(own_words) >= 12, topic.name


# === Time ===


def test_dev_comes_after_train_and_brings_new_news_and_users(demo):
    train, dev = demo["train"], demo["dev"]
    last = max(impression["time"] for impression in train["impressions"])
    assert last < min(impression["time"] for impression in dev["impressions"])
    assert {impression["time"].date().isoformat() for impression in dev["impressions"]} == {"2019-11-15"}
    assert dev["news"].keys() - train["news"].keys()
    shown = Counter(news for impression in dev["impressions"] for news in impression["candidates"])
    new = sum(count for news, count in shown.items() if news not in train["news"])
    assert 0.05 < new / shown.total() < 0.5
    users = [{impression["user"] for impression in split["impressions"]} for split in (train, dev)]
    assert users[1] - users[0]
    assert users[1] & users[0]


def test_a_users_history_is_constant(demo):
    histories = {}
    for split in demo.values():
        for impression in split["impressions"]:
            assert histories.setdefault(impression["user"], impression["history"]) == impression["history"]


def test_candidates_are_alive_and_histories_past(world):
    config, news = PRESETS["demo"], world.news
    for split in (world.train, world.dev):
        time = split.time[split.candidates.rows()]
        assert (news.birth[split.candidates.values] <= time).all()
        assert (time <= news.death[split.candidates.values]).all()
    assert (news.birth[world.histories.values] < config.history_days * planted_world.DAY).all()
    days = (news.death - news.birth) / planted_world.DAY
    assert 2 < np.median(days) < 3


def test_history_is_in_the_order_of_time(world):
    """Within a history, later positions were born later on average; a shuffled one shows no such trend."""
    birth = world.news.birth[world.histories.values]
    offsets = world.histories.offsets
    trends = [
        np.corrcoef(np.arange(last - first), birth[first:last])[0, 1]
        for first, last in pairwise(offsets[:300])
        if last - first > 10
    ]
    assert np.mean(trends) > 0.8


# === Truth ===


def test_sampling_without_replacement_follows_the_weights():
    """First draws match the weights, and the second given the first match Plackett-Luce."""
    topic = np.array([0, 0, 1, 1, 2])
    weight = np.array([1.0, 3.0, 2.0, 2.0, 4.0])
    sampler = planted_world._NewsSampler(np.arange(5), topic, weight, num_topics=3)
    rows = 40_000
    topic_weights = np.tile([2.0, 1.0, 0.5], (rows, 1))
    drawn = sampler.draw_distinct(topic_weights, np.full(rows, 4), np.random.default_rng(0)).values.reshape(rows, 4)
    assert all(len(set(row)) == 4 for row in drawn[:200].tolist())
    p = weight * np.array([2.0, 1.0, 0.5])[topic]
    p /= p.sum()
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=5) / rows, p, atol=0.01)
    last = np.array([drawn_last(p, i) for i in range(5)])
    left_out = 10 - drawn.sum(1)
    np.testing.assert_allclose(np.bincount(left_out, minlength=5) / rows, last, atol=0.01)


def drawn_last(p: np.ndarray, item: int) -> float:
    """Plackett-Luce probability that ``item`` comes last: the sum over all orders of the others."""

    def reach(others: frozenset[int]) -> float:
        if not others:
            return 1.0
        mass = p[item] + sum(p[i] for i in others)
        return sum(p[i] / mass * reach(others - {i}) for i in others)

    return reach(frozenset(range(len(p))) - {item})


def test_logits_are_the_utility(world):
    split, news, users = world.dev, world.news, world.users
    row = split.candidates.rows()
    item = split.candidates.values
    expected = users.preference[split.user[row], news.topic[item]] + 0.6 * news.log_popularity[item]
    np.testing.assert_allclose(split.logits, expected)
    assert (users.affinity.max(1) == 1).all()


def test_random_popularity_history_oracle_and_oracle_come_in_this_order(demo):
    """The bounds of a benchmark that leaves models something to learn."""
    train, dev = demo["train"]["impressions"], demo["dev"]["impressions"]
    subcategory = {news: row[2] for split in demo.values() for news, row in split["news"].items()}
    showings, clicks = Counter(), Counter()
    for impression in train:
        showings.update(impression["candidates"])
        clicks.update(news for news, label in zip(impression["candidates"], impression["labels"], strict=True) if label)
    distinct = {impression["user"]: impression["history"] for impression in train + dev}
    overall = Counter(subcategory[news] for history in distinct.values() for news in history)
    base = {name: (overall[name] + 1) / (overall.total() + 130) for name in set(subcategory.values())}

    def history_oracle(impression: dict) -> list[float]:
        counts, size = (
            Counter(subcategory[news] for news in impression["history"]),
            len(impression["history"]),
        )
        names = [subcategory[news] for news in impression["candidates"]]
        return [np.log((counts[name] + 5 * base[name]) / ((size + 5) * base[name])) for name in names]

    rng = np.random.default_rng(0)
    scorers = {
        "random": lambda impression: rng.random(len(impression["candidates"])),
        "popularity": lambda impression: [
            (clicks[news] + 1) / (showings[news] + 25) for news in impression["candidates"]
        ],
        "history-oracle": history_oracle,
        "oracle": lambda impression: impression["logits"],
    }
    auc = {
        name: np.mean([roc_auc_score(impression["labels"], score(impression)) for impression in dev[:300]])
        for name, score in scorers.items()
    }
    assert list(auc) == sorted(auc, key=auc.get)
    assert auc["random"] == pytest.approx(0.5, abs=0.035)
    assert 0.53 < auc["popularity"] < 0.62
    assert 0.70 < auc["history-oracle"] < 0.78
    assert 0.80 < auc["oracle"] < 0.88
