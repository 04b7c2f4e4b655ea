"""TrainingSamples: order, negatives, bundles and shards of an epoch, on random logs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.sampling import TrainingSamples, bundled, sample_without_replacement
from tests.data.random_log import IDS, NEWS, make_log


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
    parts = [make_samples(shard=(index, 2)).of_step(1)[1] for index in range(2)]
    assert np.array_equal(whole[:4], parts[0])
    assert np.array_equal(whole[4:], parts[1])
    with pytest.raises(ValueError, match="no multiple"):
        make_samples(batch_size=7, shard=(0, 2))


def test_training_needs_labels_and_a_choice():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="labelled"):
        TrainingSamples(make_log(rng, labelled=False), batch_size=4, npratio=4)
    log = ImpressionLog.from_columns(NEWS, histories=[[]], candidates=[IDS[:2]], labels=[[1, 1]])
    with pytest.raises(ValueError, match="nothing to learn"):
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
