"""TrainingSamples and TrainingBatches against what their docstrings promise, on random logs."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.lengths import rounded
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import TrainingSamples, bundled, sample_without_replacement

NUM_NEWS = 40
IDS = [f"N{i}" for i in range(NUM_NEWS)]
NEWS = NewsTable.from_columns(ids=IDS, titles=[f"title {i}" for i in range(NUM_NEWS)])


def make_log(rng, impressions=30, labelled=True):
    histories = [rng.choice(IDS, rng.integers(0, 15)).tolist() for _ in range(impressions)]
    candidates = [rng.choice(IDS, rng.integers(2, 12), replace=False).tolist() for _ in range(impressions)]
    labels = [(rng.random(len(c)) < 0.3).astype(int).tolist() for c in candidates]
    users = [f"U{rng.integers(9)}" for _ in range(impressions)]
    return ImpressionLog.from_columns(
        NEWS, histories=histories, candidates=candidates, labels=labels if labelled else None, users=users
    )


def make_features(rng):
    lengths = np.concatenate([[0], rng.integers(1, 13, NUM_NEWS)])
    title = np.where(np.arange(12) < lengths[:, None], rng.integers(2, 99, (NUM_NEWS + 1, 12)), 0).astype("int32")
    return {"title": title, "category": np.arange(NUM_NEWS + 1, dtype="int32")}


def make_batches(seed=0, **options):
    rng = np.random.default_rng(seed)
    features, log = make_features(rng), make_log(rng)
    users = np.arange(2, 2 + len(log.users), dtype="int32")
    samples = {"batch_size": 8, "npratio": 3, "seed": seed}
    samples |= {name: options.pop(name) for name in ("batch_size", "clicks_per_user", "shards") if name in options}
    return TrainingBatches(features, TrainingSamples(log, **samples), users, **{"his_size": 6, **options})


def rows_of(inputs, positions):
    """Undoes the positions: the category feature is the row of the table."""
    return np.concatenate([group["category"] for group in inputs["news"]])[positions]


def samples_of(group):
    """The history, the candidates and the user of each sample of a group."""
    return zip(group["history"][group["row"]], group["candidates"], group["user"][group["row"]], strict=True)


@pytest.mark.parametrize("clicks_per_user", [1, 3])
@pytest.mark.parametrize("static_shapes", [False, True])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000))
def test_an_epoch_holds_every_click_once_with_its_history_and_other_candidates(static_shapes, clicks_per_user, seed):
    batches = make_batches(seed, static_shapes=static_shapes, clicks_per_user=clicks_per_user)
    log = batches.log
    expected = Counter()
    for i, rows in enumerate(log.candidates):
        labels = log.labels[log.candidates.offsets[i] :][: len(rows)]
        if labels.min() == labels.max():
            continue
        history = log.histories[log.history_of[i]]
        for clicked in rows[labels == 1]:
            expected[clicked, tuple(history[-6:]), frozenset(rows[labels == 0]), batches.users[log.user_of[i]]] += 1
    seen = Counter()
    for step in range(batches.steps_per_epoch):
        inputs, labels, weights = batches[step]
        assert labels.dtype == weights.dtype == "float32"
        samples = [sample for group in inputs["samples"] for sample in samples_of(group)]
        assert len(samples) == len(labels) == len(weights)
        for (history, candidates, user), weight in zip(samples, weights, strict=True):
            history, candidates = rows_of(inputs, history), rows_of(inputs, candidates)
            if weight == 0:
                assert not candidates.any()
                continue
            real = tuple(history[history > 0])
            assert tuple(history[: len(real)]) == real, "padding stands behind the clicks"
            negatives = candidates[1:][candidates[1:] > 0]
            key = next(
                k for k in expected if (k[0], k[1], k[3]) == (candidates[0], real, user) and k[2] >= {*negatives}
            )
            assert len(set(negatives)) == len(negatives) == min(3, len(key[2]))
            seen[key] += 1
    assert seen == expected


@pytest.mark.parametrize("static_shapes", [False, True])
def test_each_distinct_article_of_a_batch_stands_once_at_its_own_length(static_shapes):
    batches = make_batches(static_shapes=static_shapes)
    for step in range(batches.steps_per_epoch):
        inputs, _, _ = batches[step]
        rows = np.concatenate([group["category"] for group in inputs["news"]])
        assert rows[0] == 0
        places = [sample[name] for sample in inputs["samples"] for name in ("history", "candidates")]
        used = {int(row) for place in places for row in rows_of(inputs, place).ravel()}
        assert sorted(used | {0}) == sorted(set(rows.tolist()))
        real = rows[rows > 0]
        assert len(set(real.tolist())) == len(real)
        for group in inputs["news"]:
            whole = batches.features["title"][group["category"]]
            width = group["title"].shape[1]
            assert np.array_equal(group["title"], whole[:, :width])
            assert not whole[:, width:].any()


def test_static_shapes_are_the_same_in_every_step():
    batches = make_batches(static_shapes=True)
    shapes = set()
    for step in range(3 * batches.steps_per_epoch):
        inputs, labels, weights = batches[step]
        arrays = [
            *(g[n] for g in inputs["news"] for n in sorted(g)),
            *(g[n] for g in inputs["samples"] for n in sorted(g)),
        ]
        shapes.add((*(a.shape for a in arrays), labels.shape, weights.shape))
    assert len(shapes) == 1


def test_static_shapes_grow_where_articles_or_users_outgrow_them():
    batches = make_batches(static_shapes=True)
    batches._capacities[:] = batches._user_capacity = 1
    inputs, _, _ = batches[0]
    roomy, _, _ = make_batches(static_shapes=True)[0]
    for tight, wide in zip(inputs["samples"], roomy["samples"], strict=True):
        for own, other in zip(samples_of(tight), samples_of(wide), strict=True):
            for name in range(2):
                assert np.array_equal(rows_of(inputs, own[name]), rows_of(roomy, other[name]))


def test_a_step_depends_on_its_number_alone():
    whole, resumed = make_batches(), make_batches(first_step=5)
    _ = whole[0]
    for a, b in zip(whole[5][0]["samples"], resumed[0][0]["samples"], strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_clicks_of_a_user_stand_together_and_share_their_row():
    rng = np.random.default_rng(1)
    histories = [rng.choice(IDS, 5).tolist() for _ in range(4)]
    log = ImpressionLog.from_columns(
        NEWS,
        histories=[histories[i % 4] for i in range(40)],
        candidates=[rng.choice(IDS, 6, replace=False).tolist() for _ in range(40)],
        labels=[[1, 0, 0, 0, 0, 0]] * 40,
        users=[f"U{i % 4}" for i in range(40)],
    )
    samples = TrainingSamples(log, batch_size=8, npratio=4, clicks_per_user=4)
    batches = TrainingBatches(make_features(rng), samples, np.arange(2, 6, dtype="int32"))
    for step in range(batches.steps_per_epoch):
        [inputs, _, _] = batches[step]
        assert sum(len(sample["row"]) for sample in inputs["samples"]) == 8
        assert sum(len(np.unique(sample["row"])) for sample in inputs["samples"]) <= 4


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_tensorflow_streams_the_batches_and_nothing_has_to_wake_up_before_training_ends():
    batches = make_batches(first_step=2)
    stream = batches.stream()
    assert not stream.options().autotune.enabled
    for index, streamed in enumerate(stream.take(2 * batches.steps_per_epoch)):
        keras.tree.map_structure(np.testing.assert_array_equal, batches[index], streamed)


@given(st.lists(st.integers(0, 5000), min_size=1))
def test_sizes_are_rounded_up_a_little_to_few(sizes):
    found = rounded(np.array(sizes))
    assert (found >= sizes).all()
    assert (found <= np.maximum(np.array(sizes) * 9 / 8, 1)).all()
    assert (found > 0).all()
    assert len(np.unique(rounded(np.arange(5000)))) < 90


def make_samples(**options):
    return TrainingSamples(make_log(np.random.default_rng(0)), **{"batch_size": 8, "npratio": 3, **options})


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 5))
def test_bundles_are_of_one_owner_as_full_as_they_can_be_and_stand_where_their_first_did(owners, size):
    owners = np.array(owners)
    order = bundled(owners, size)
    assert np.array_equal(np.sort(order), np.arange(len(owners)))
    expected, open_bundles, bundles = [], {}, []
    for item, owner in enumerate(owners.tolist()):
        if len(open_bundles.get(owner, [])) in (0, size):
            open_bundles[owner] = []
            bundles.append(open_bundles[owner])
        open_bundles[owner].append(item)
    for bundle in bundles:
        expected += bundle
    assert order.tolist() == expected


def test_clicks_are_found_in_parts_of_the_log(monkeypatch):
    whole = make_samples()
    monkeypatch.setattr("recommenders_miner.data.sampling._IMPRESSIONS_AT_ONCE", 7)
    parts = make_samples()
    assert len(parts) == len(whole)
    for a, b in zip(whole.of_step(2), parts.of_step(2), strict=True):
        assert np.array_equal(a, b)


def test_epochs_differ_in_order_and_negatives_but_not_in_clicks():
    samples = make_samples()
    epochs = []
    for epoch in range(2):
        steps = range(epoch * samples.steps_per_epoch, (epoch + 1) * samples.steps_per_epoch)
        epochs.append(np.concatenate([samples.of_step(step)[1] for step in steps]))
    assert not np.array_equal(epochs[0][:, 0], epochs[1][:, 0])
    assert np.array_equal(np.sort(epochs[0][:, 0]), np.sort(epochs[1][:, 0]))
    assert not np.array_equal(np.sort(epochs[0][:, 1:], axis=None), np.sort(epochs[1][:, 1:], axis=None))


def test_shards_deal_out_the_clicks_of_a_step():
    whole = make_samples().of_step(1)[1]
    parts = make_samples(shards=2).shards_of_step(1)
    assert np.array_equal(whole[:4], parts[0][1])
    assert np.array_equal(whole[4:], parts[1][1])
    with pytest.raises(ValueError, match="no multiple"):
        make_samples(batch_size=7, shards=2)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), shards=st.sampled_from([2, 4]))
def test_shards_joined_say_what_the_whole_batch_says(seed, shards):
    whole = make_batches(seed, static_shapes=True)
    joined = make_batches(seed, static_shapes=True, shards=shards)
    apart = [make_batches(seed, static_shapes=True, shards=shards, own_shards=[shard]) for shard in range(shards)]
    for step in range(whole.steps_per_epoch + 1):
        inputs, labels, weights = joined[step]
        parts = [part[step] for part in apart]
        tree = keras.tree.flatten(keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts))
        assert all(map(np.array_equal, tree, keras.tree.flatten((inputs, labels, weights))))
        of_shards = [[array.shape for array in keras.tree.flatten(part)] for part in parts]
        assert all(shapes == of_shards[0] for shapes in of_shards)
        found = []
        for batch, (inputs, _, weights) in (("whole", whole[step]), ("joined", joined[step])):
            [group] = inputs["samples"]
            for real, (history, candidates, user) in zip(weights, samples_of(group), strict=True):
                if real:
                    rows = [tuple(rows_of(inputs, positions)) for positions in (history, candidates)]
                    found.append((batch, *rows, user))
        assert [row[1:] for row in found if row[0] == "whole"] == [row[1:] for row in found if row[0] == "joined"]


def test_training_needs_labels_and_a_choice():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no candidate has a label: there is nothing to train on"):
        TrainingSamples(make_log(rng, labelled=False), batch_size=4, npratio=4)
    log = ImpressionLog.from_columns(NEWS, histories=[[]], candidates=[IDS[:2]], labels=[[1, 1]])
    with pytest.raises(
        ValueError, match="no impression has both a click and a non-click: there is nothing to train on"
    ):
        TrainingSamples(log, batch_size=4, npratio=4)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 99))
def test_samples_are_distinct_and_in_range(sizes, count, seed):
    picks, real = sample_without_replacement(np.array(sizes), count, np.random.default_rng(seed))
    for size, row, is_real in zip(sizes, picks, real, strict=True):
        drawn = row[is_real]
        assert len(drawn) == min(size, count)
        assert len(set(drawn.tolist())) == len(drawn)
        assert ((drawn >= 0) & (drawn < size)).all()


def test_every_subset_is_equally_likely():
    picks, _ = sample_without_replacement(np.full(60_000, 5), 3, np.random.default_rng(0))
    counts = Counter(frozenset(row) for row in picks.tolist())
    assert len(counts) == 10
    assert max(abs(count - 6000) for count in counts.values()) < 5 * np.sqrt(6000 * 0.9)


@pytest.mark.parametrize("clicks_per_user", [1, 3])
@pytest.mark.parametrize(("batch_size", "parts"), [(12, 1), (6, 2), (4, 3), (1, 12)])
def test_the_steps_of_an_update_are_parts_of_one_large_step(clicks_per_user, batch_size, parts):
    """Clicks and negatives, in every epoch; its last update has them all as well, in parts that may repeat some."""
    log = make_log(np.random.default_rng(3))
    options = {"npratio": 3, "clicks_per_user": clicks_per_user, "seed": 5}
    whole = TrainingSamples(log, 12, **options)
    cut = TrainingSamples(log, batch_size, **options, accumulate_steps=parts)
    assert cut.steps_per_epoch == whole.steps_per_epoch * parts
    assert len(whole) % 12
    for update in range(2 * whole.steps_per_epoch):
        steps = [cut.of_step(update * parts + part) for part in range(parts)]
        is_last = (update + 1) % whole.steps_per_epoch == 0
        for place, expected in enumerate(whole.of_step(update)):
            found = np.concatenate([step[place] for step in steps])
            if len(expected) >= parts:
                assert np.array_equal(found, expected)
            elif place == 0:
                assert set(found) == set(expected)
        sizes = [len(impressions) for impressions, _ in steps]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= (1 if is_last else 0)
