"""The figures of one split: what its news table and its log hold. All of them are taken on whole columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY, file_time
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.write import blocks_of_rows
from recommenders_miner.evaluation.cold_news import cold_candidates
from recommenders_miner.inspection.facts import Comparison, Distribution, LogFacts, NewsFacts

HOUR = 3600
_UNLABELLED_ROWS = (
    "some candidates labelled and some not",
    "labels where the log has none, or none where it has them",
)
_FLAGS_PER_TOKEN = 16
"""How many flags of a table of histories and news take as much of a block as one candidate does."""


@dataclass(frozen=True)
class DoubtfulRows:
    """Rows of a log that something may be wrong with, each an ascending array of indices.

    Attributes:
        repeated_ids: impressions with the id of an earlier one.
        repeated_rows: impressions that equal an earlier one but for the id.
        contradictory: impressions that show an article both as clicked and as not clicked.
        in_history: candidates of a labelled log, as the log counts them, that the impression's own history holds.
    """

    repeated_ids: np.ndarray
    repeated_rows: np.ndarray
    contradictory: np.ndarray
    in_history: np.ndarray


def measure_news(news: NewsTable, repeated: int, entities_readable: bool) -> NewsFacts:
    """Take the figures of a news table; those that the table does not tell are given."""
    names, counts = np.unique(_as_numpy(news.category)[1:], return_counts=True)
    most_frequent_first = np.lexsort((names, -counts))
    is_named = ~_as_numpy(pc.is_in(news.title_entities, pa.array(["", "[]"])))
    words = np.array(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(news.title))))
    words[find_blank(news.title)] = 0  # Arrow counts one empty word there
    return NewsFacts(
        news=len(news) - 1,
        repeated=repeated,
        without_title=len(find_blank(news.title)),
        without_category=len(find_blank(news.category)),
        without_abstract=len(find_blank(news.abstract)),
        categories={str(names[k]): int(counts[k]) for k in most_frequent_first},
        subcategories=len(set(news.subcategory.unique().to_pylist()) - {""}),
        with_title_entities=int(is_named.sum()),
        entities_readable=entities_readable,
        title_words=Distribution.of(words[1:]),
    )


def find_blank(texts: pa.StringArray) -> np.ndarray:
    """Return the rows of a column of a news table that are empty or blank, ascending, without the padding row."""
    return 1 + np.flatnonzero(_as_numpy(pc.equal(pc.utf8_trim_whitespace(texts.slice(1)), "")))


def measure_log(log: ImpressionLog, news: NewsTable, doubtful: DoubtfulRows) -> LogFacts:
    """Take the figures of a log that was read with `on_error="skip"`."""
    sizes, history_length = log.candidates.lengths, log.histories.lengths[log.history_of]
    clicked = log.labels == 1
    clicks = np.add.reduceat(clicked, log.candidates.offsets[:-1], dtype=np.int64)
    num_clicks, num_candidates = int(clicked.sum()), len(clicked)
    clicks_in_history = int(clicked[doubtful.in_history].sum())
    non_clicks_in_history = len(doubtful.in_history) - clicks_in_history
    skipped = log.skipped.counts
    showings = np.bincount(log.candidates.values, minlength=len(news))
    return LogFacts(
        impressions=len(log),
        users=len(log.users),
        candidates=num_candidates,
        clicks=num_clicks,
        click_rate=num_clicks / num_candidates if log.labelled else None,
        first=file_time(log.time.min()),
        last=file_time(log.time.max()),
        without_history=int((history_length == 0).sum()),
        without_click=int((clicks == 0).sum()) if log.labelled else 0,
        without_non_click=int((clicks == sizes).sum()),
        unlabelled=sum(skipped.get(reason, 0) for reason in _UNLABELLED_ROWS) + (0 if log.labelled else len(log)),
        repeated_ids=len(doubtful.repeated_ids),
        repeated_rows=len(doubtful.repeated_rows),
        contradictory=len(doubtful.contradictory),
        click_share_in_history=_share(clicks_in_history, num_clicks),
        non_click_share_in_history=_share(non_clicks_in_history, num_candidates - num_clicks) if log.labelled else None,
        unknown_candidates=skipped.get(UNKNOWN_CANDIDATE, 0),
        unknown_in_histories=skipped.get(UNKNOWN_IN_HISTORY, 0),
        news_shown=int((showings > 0).sum()),
        labelled=log.labelled,
        clicks_in_history=clicks_in_history,
        non_clicks_in_history=non_clicks_in_history,
        history_length=Distribution.of(history_length),
        candidates_per_impression=Distribution.of(sizes),
        clicks_per_impression=Distribution.of(clicks if log.labelled else clicks[:0]),
        showings=Distribution.of(showings[showings > 0]),
        hours=Distribution.of(log.time // HOUR),
        category_showings=_by_category(news, showings),
        category_clicks=_by_category(news, np.bincount(log.candidates.values[clicked], minlength=len(news))),
    )


def compare_to_train(
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable, num_changed: int
) -> Comparison:
    """Find what of a split train does not know, or knows otherwise; `num_changed` articles it describes otherwise."""
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
        changed_news=num_changed,
    )


def find_changed_news(news: NewsTable, training_news: NewsTable) -> np.ndarray:
    """Find the articles that train has with another title or category, as ascending rows of the split's table."""
    place = pc.index_in(news.ids, value_set=training_news.ids)
    changed = pc.or_(
        pc.not_equal(news.title, training_news.title.take(place)),
        pc.not_equal(news.category, training_news.category.take(place)),
    )
    return np.flatnonzero(_as_numpy(changed.fill_null(False)))


def find_doubtful_rows(log: ImpressionLog) -> DoubtfulRows:
    """Find the impressions that repeat an earlier one, contradict themselves, or show what their history holds."""
    hashes, contradictory = np.empty(len(log), np.uint64), [np.empty(0, np.int64)]
    factors = np.random.default_rng(0).integers(2**64, size=log.candidates.lengths.max(), dtype=np.uint64)
    width = 2 * _news_in(log)
    for rows in blocks_of_rows(log.candidates.lengths):
        shown = log.candidates.slice(rows.start, rows.stop)
        labels = log.labels[log.candidates.offsets[rows.start] : log.candidates.offsets[rows.stop]]
        tokens = 2 * shown.values.astype(np.int64) + (labels == 1)
        hashes[rows] = np.add.reduceat(tokens.astype(np.uint64) * factors[shown.ranks()], shown.offsets[:-1])
        if log.labelled:
            # Sorted, an article's clicks stand right behind its non-clicks.
            ordered = np.sort(shown.rows() * width + tokens)
            both = (ordered[1:] == ordered[:-1] + 1) & (ordered[1:] % 2 == 1)
            contradictory.append(rows.start + np.unique(ordered[1:][both] // width))
    return DoubtfulRows(
        repeated_ids=_repeats(log.impression_id),
        repeated_rows=_repeats(hashes, log.history_of, log.user_of, log.time),
        contradictory=np.concatenate(contradictory),
        in_history=np.flatnonzero(_in_own_history(log)),
    )


def _repeats(*columns: np.ndarray) -> np.ndarray:
    """The rows that equal an earlier one in all columns, ascending."""
    order = np.lexsort(columns)
    equal = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        equal &= column[order[1:]] == column[order[:-1]]
    return np.sort(order[1:][equal])


def _in_own_history(log: ImpressionLog) -> np.ndarray:
    """Which candidates of a labelled log the history of their impression holds, (candidates,) bool."""
    found = np.zeros(len(log.candidates.values), bool)
    if not log.labelled:
        return found
    impressions = np.argsort(log.history_of, kind="stable")  # those of one history together
    histories, width = log.history_of[impressions], _news_in(log)
    # A table of flags, a row for each history of a block, a column for each article, is faster than sorting.
    weights = log.candidates.lengths[impressions] + (np.diff(histories, prepend=-1) > 0) * (width // _FLAGS_PER_TOKEN)
    for rows in blocks_of_rows(weights):
        here, row_of = np.unique(histories[rows], return_inverse=True)
        clicked, places = log.histories.take(here), log.candidates.places(impressions[rows])
        flags = np.zeros((len(here), width), bool)
        flags[clicked.rows(), clicked.values] = True
        found[places.values] = flags[places.repeat(row_of), log.candidates.values[places.values]]
    return found


def _news_in(log: ImpressionLog) -> int:
    """One more than the last row of the news table that a log refers to."""
    return 1 + int(max(log.candidates.values.max(), log.histories.values.max(initial=0)))


def _by_category(news: NewsTable, counts: np.ndarray) -> dict[str, int]:
    """Add up the figures of articles, (N + 1,), by category, that of the padding row left out."""
    encoded = news.category.slice(1).dictionary_encode()
    totals = np.bincount(encoded.indices.to_numpy(), counts[1:], minlength=len(encoded.dictionary))
    return dict(zip(encoded.dictionary.to_pylist(), totals.astype(int).tolist(), strict=True))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _as_numpy(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False)
