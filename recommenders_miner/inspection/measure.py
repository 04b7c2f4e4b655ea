"""The figures of one split: what its news table and its log hold. All of them are taken on whole columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.evaluation.cold_news import cold_candidates
from recommenders_miner.inspection.data_report import Comparison, Distribution, LogFacts, NewsFacts
from recommenders_miner.io.file_clock import file_time
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.tsv_writer import blocks_of_rows

HOUR = 3600
_NO_ENTITIES = pa.array(["", "[]"])
UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY = "unknown news id among the candidates", "unknown news id in the history"
_UNLABELLED_ROWS = (
    "some candidates labelled and some not",
    "labels where the log has none, or none where it has them",
)


@dataclass(frozen=True)
class DoubtfulRows:
    """Rows of a table or a log that something may be wrong with, each an ascending array of indices.

    Attributes:
        repeated_ids: impressions with the id of an earlier one.
        repeated_rows: impressions that equal an earlier one but for the id.
    """

    repeated_ids: np.ndarray
    repeated_rows: np.ndarray


def measure_news(news: NewsTable, repeated: int, entities_readable: bool) -> NewsFacts:
    """Takes the figures of a news table; those that the table does not tell are given."""
    names, counts = np.unique(_as_numpy(news.category)[1:], return_counts=True)
    most_frequent_first = np.lexsort((names, -counts))
    return NewsFacts(
        news=len(news) - 1,
        repeated=repeated,
        without_title=_count_empty(news.title),
        without_category=_count_empty(news.category),
        without_abstract=_count_empty(news.abstract),
        subcategories=len(set(news.subcategory.unique().to_pylist()) - {""}),
        with_title_entities=len(news) - int(_as_numpy(pc.is_in(news.title_entities, _NO_ENTITIES)).sum()),
        entities_readable=entities_readable,
        title_words=Distribution.of(_count_words(news.title)[1:]),
        categories={str(names[k]): int(counts[k]) for k in most_frequent_first},
    )


def measure_log(log: ImpressionLog, news: NewsTable, doubtful: DoubtfulRows) -> LogFacts:
    """Takes the figures of a log that was read with `on_error="skip"`."""
    sizes = np.diff(log.offsets)
    clicks = np.add.reduceat(log.labels == 1, log.offsets[:-1], dtype=np.int64)
    history_length = np.diff(log.history_offsets)[log.history_of]
    skipped = log.skipped.counts
    showings = np.bincount(log.candidates, minlength=len(news))
    clicked = np.bincount(log.candidates[log.labels == 1], minlength=len(news))
    unlabelled = sum(skipped.get(reason, 0) for reason in _UNLABELLED_ROWS)
    return LogFacts(
        impressions=len(log),
        users=len(log.users),
        candidates=len(log.candidates),
        news_shown=int((showings > 0).sum()),
        labelled=log.labelled,
        clicks=int(clicks.sum()),
        without_history=int((history_length == 0).sum()),
        without_click=int((clicks == 0).sum()) if log.labelled else 0,
        without_non_click=int((clicks == sizes).sum()),
        unlabelled=unlabelled + (0 if log.labelled else len(log)),
        unknown_candidates=skipped.get(UNKNOWN_CANDIDATE, 0),
        unknown_in_histories=skipped.get(UNKNOWN_IN_HISTORY, 0),
        repeated_ids=len(doubtful.repeated_ids),
        repeated_rows=len(doubtful.repeated_rows),
        first=file_time(log.time.min()),
        last=file_time(log.time.max()),
        history_length=Distribution.of(history_length),
        candidates_per_impression=Distribution.of(sizes),
        clicks_per_impression=Distribution.of(clicks if log.labelled else clicks[:0]),
        showings=Distribution.of(showings[showings > 0]),
        hours=Distribution.of(log.time // HOUR),
        category_showings=_by_category(news, showings),
        category_clicks=_by_category(news, clicked),
    )


def compare_to_train(
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable
) -> Comparison:
    """Finds what of a split train does not know."""
    cold = cold_candidates(log, news, training_log, training_news)
    absent = ~_as_numpy(pc.is_in(news.ids, value_set=training_news.ids))[log.candidates]
    clicked = log.labels == 1
    has_clicks = bool(clicked.any())
    return Comparison(
        cold_candidates=float(cold.mean()),
        cold_clicks=float(cold[clicked].mean()) if has_clicks else None,
        absent_candidates=float(absent.mean()),
        absent_clicks=float(absent[clicked].mean()) if has_clicks else None,
        new_users=1 - float(_as_numpy(pc.is_in(log.users, value_set=training_log.users)).mean()),
        before_train_ends=int((log.time <= training_log.time.max()).sum()),
    )


def find_doubtful_rows(log: ImpressionLog) -> DoubtfulRows:
    """Finds the impressions that repeat an earlier one, or its id."""
    return DoubtfulRows(
        repeated_ids=_repeats(log.impression_id),
        repeated_rows=_repeats(_slate_hashes(log), log.history_of, log.user_of, log.time),
    )


def _repeats(*columns: np.ndarray) -> np.ndarray:
    """The rows that equal an earlier one in all columns, ascending."""
    order = np.lexsort(columns)
    equal = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        equal &= column[order[1:]] == column[order[:-1]]
    return np.sort(order[1:][equal])


def _slate_hashes(log: ImpressionLog) -> np.ndarray:
    """A hash of the candidates and labels of each impression, (I,) uint64."""
    sizes = np.diff(log.offsets)
    factors = np.random.default_rng(0).integers(2**64, size=sizes.max(), dtype=np.uint64)
    hashes = np.empty(len(log), np.uint64)
    for rows in blocks_of_rows(sizes):
        starts, end = log.offsets[rows], log.offsets[rows.stop]
        token = 2 * log.candidates[starts[0] : end].astype(np.uint64) + (log.labels[starts[0] : end] == 1)
        place = np.arange(starts[0], end) - np.repeat(starts, sizes[rows])
        hashes[rows] = np.add.reduceat(token * factors[place], starts - starts[0])
    return hashes


def _by_category(news: NewsTable, counts: np.ndarray) -> dict[str, int]:
    """Adds up the figures of news, (N + 1,), by category, that of the padding news left out."""
    encoded = news.category.slice(1).dictionary_encode()
    totals = np.bincount(encoded.indices.to_numpy(), counts[1:], minlength=len(encoded.dictionary))
    return dict(zip(encoded.dictionary.to_pylist(), totals.astype(int).tolist(), strict=True))


def _count_empty(texts: pa.StringArray) -> int:
    """How many texts are empty or blank, that of the padding news left out."""
    return int(pc.sum(pc.equal(pc.utf8_trim_whitespace(texts), "")).as_py()) - 1


def _count_words(texts: pa.StringArray) -> np.ndarray:
    """How many words each text has, (texts,) int64."""
    words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
    return np.where(_as_numpy(pc.equal(pc.utf8_trim_whitespace(texts), "")), 0, _as_numpy(words)).astype(np.int64)


def _as_numpy(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
