"""The figures of one split: what its news table and its log hold. All of them are taken on whole columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.file_clock import file_time
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.write import blocks_of_rows
from recommenders_miner.evaluation.cold_news import cold_candidates
from recommenders_miner.inspection.data_report import Comparison, Distribution, LogFacts, NewsFacts

HOUR = 3600
_NO_ENTITIES = pa.array(["", "[]"])
UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY = "unknown news id among the candidates", "unknown news id in the history"
_UNLABELLED_ROWS = (
    "some candidates labelled and some not",
    "labels where the log has none, or none where it has them",
)
_FLAGS_PER_TOKEN = 16
"""How many flags of a table of histories and news take as much of a block as one candidate does."""


@dataclass(frozen=True)
class DoubtfulRows:
    """Rows of a table or a log that something may be wrong with, each an ascending array of indices.

    Attributes:
        repeated_ids: impressions with the id of an earlier one.
        repeated_rows: impressions that equal an earlier one but for the id.
        contradictory: impressions that show a news both as clicked and as not clicked.
        in_history: candidates of a labelled log, as the log counts them, that the impression's own history holds.
    """

    repeated_ids: np.ndarray
    repeated_rows: np.ndarray
    contradictory: np.ndarray
    in_history: np.ndarray


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
    sizes = log.candidates.lengths
    clicks = np.add.reduceat(log.labels == 1, log.candidates.offsets[:-1], dtype=np.int64)
    history_length = log.histories.lengths[log.history_of]
    skipped = log.skipped.counts
    showings = np.bincount(log.candidates.values, minlength=len(news))
    clicked = np.bincount(log.candidates.values[log.labels == 1], minlength=len(news))
    unlabelled = sum(skipped.get(reason, 0) for reason in _UNLABELLED_ROWS)
    clicks_in_history = int((log.labels[doubtful.in_history] == 1).sum())
    return LogFacts(
        impressions=len(log),
        users=len(log.users),
        candidates=len(log.candidates.values),
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
        contradictory=len(doubtful.contradictory),
        clicks_in_history=clicks_in_history,
        non_clicks_in_history=len(doubtful.in_history) - clicks_in_history,
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
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable, changed: np.ndarray
) -> Comparison:
    """Finds what of a split train does not know, or knows otherwise: `changed`, from `find_changed_news`."""
    cold = cold_candidates(log, news, training_log, training_news)
    absent = ~_as_numpy(pc.is_in(news.ids, value_set=training_news.ids))[log.candidates.values]
    clicked = log.labels == 1
    has_clicks = bool(clicked.any())
    return Comparison(
        cold_candidates=float(cold.mean()),
        cold_clicks=float(cold[clicked].mean()) if has_clicks else None,
        absent_candidates=float(absent.mean()),
        absent_clicks=float(absent[clicked].mean()) if has_clicks else None,
        new_users=1 - float(_as_numpy(pc.is_in(log.users, value_set=training_log.users)).mean()),
        before_train_ends=int((log.time <= training_log.time.max()).sum()),
        changed_news=len(changed),
    )


def find_changed_news(news: NewsTable, training_news: NewsTable) -> np.ndarray:
    """Finds the news that train's table has with another title or category, as ascending rows of the split's table."""
    place = pc.index_in(news.ids, value_set=training_news.ids)
    changed = pc.or_(
        pc.not_equal(news.title, training_news.title.take(place)),
        pc.not_equal(news.category, training_news.category.take(place)),
    )
    return np.flatnonzero(_as_numpy(changed.fill_null(False)))


def find_doubtful_rows(log: ImpressionLog) -> DoubtfulRows:
    """Finds the impressions that repeat an earlier one, contradict themselves, or show what their history holds."""
    return DoubtfulRows(
        repeated_ids=_repeats(log.impression_id),
        repeated_rows=_repeats(_slate_hashes(log), log.history_of, log.user_of, log.time),
        contradictory=_contradictory(log),
        in_history=np.flatnonzero(_in_own_history(log)),
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
    sizes = log.candidates.lengths
    factors = np.random.default_rng(0).integers(2**64, size=sizes.max(), dtype=np.uint64)
    hashes = np.empty(len(log), np.uint64)
    for rows in blocks_of_rows(sizes):
        starts, end = log.candidates.offsets[rows], log.candidates.offsets[rows.stop]
        token = 2 * log.candidates.values[starts[0] : end].astype(np.uint64) + (log.labels[starts[0] : end] == 1)
        place = np.arange(starts[0], end) - np.repeat(starts, sizes[rows])
        hashes[rows] = np.add.reduceat(token * factors[place], starts - starts[0])
    return hashes


def _contradictory(log: ImpressionLog) -> np.ndarray:
    """The impressions that show a news both as clicked and as not clicked, ascending."""
    found = [np.empty(0, np.int64)]
    sizes, width = log.candidates.lengths, 2 * _news_in(log)
    for rows in blocks_of_rows(sizes) if log.labelled else ():
        shown = slice(log.candidates.offsets[rows.start], log.candidates.offsets[rows.stop])
        impression = np.repeat(np.arange(rows.start, rows.stop), sizes[rows])
        tokens = np.sort(impression * width + 2 * log.candidates.values[shown] + (log.labels[shown] == 1))
        # Sorted, a news' clicks stand right behind its non-clicks.
        both = (tokens[1:] == tokens[:-1] + 1) & (tokens[1:] % 2 == 1)
        found.append(np.unique(tokens[1:][both] // width))
    return np.concatenate(found)


def _in_own_history(log: ImpressionLog) -> np.ndarray:
    """Which candidates of a labelled log the history of their impression holds, (candidates,) bool."""
    found = np.zeros(len(log.candidates.values), bool)
    sizes, lengths = log.candidates.lengths, log.histories.lengths
    impressions = np.argsort(log.history_of, kind="stable")  # those of one history together
    impressions = impressions[lengths[log.history_of[impressions]] > 0]
    if not log.labelled or not len(impressions):
        return found
    histories, width = log.history_of[impressions], _news_in(log)
    is_first = np.diff(histories, prepend=-1) > 0
    place = np.cumsum(is_first) - 1
    # A table of flags, a row for each history of a block, a column for each news, is faster than sorting.
    blocks = list(blocks_of_rows(sizes[impressions] + is_first * (1 + width // _FLAGS_PER_TOKEN)))
    flags = np.zeros(max(1 + place[rows.stop - 1] - place[rows.start] for rows in blocks) * width, bool)
    for rows in blocks:
        row_of = place[rows] - place[rows.start]
        here = np.unique(histories[rows])
        read = log.histories.take(here).values
        marked = np.repeat(np.arange(len(here)) * width, lengths[here]) + read
        flags[marked] = True
        slots = log.candidates.places(impressions[rows]).values
        found[slots] = flags[np.repeat(row_of * width, sizes[impressions[rows]]) + log.candidates.values[slots]]
        flags[marked] = False
    return found


def _news_in(log: ImpressionLog) -> int:
    """One more than the last row of the news table that a log refers to."""
    return 1 + int(max(log.candidates.values.max(), log.histories.values.max(initial=0)))


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
