"""Normative diversity: what lists do to the range of topics, tones and voices that users see, and to who is shown.

The five metrics are RADio's (Vrijenhoek et al., "RADio – Rank-Aware Divergence Metrics to Measure Normative Diversity
in News Recommendations", RecSys 2022). Lists are `Ragged`, the best article of each list first; an article is named by
its row of the `NewsTable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array
from scipy.special import rel_entr

from recommenders_miner.data.folders import ARTICLES_FILE
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError, nearest
from recommenders_miner.evaluation.metrics import Evaluation, cold_articles, divided

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

COLUMNS: dict[str, tuple[str, ...]] = {
    "activation": ("activation", "sentiment"),
    "calibration_topic": ("category",),
    "calibration_complexity": ("complexity",),
    "fragmentation": ("story", "category"),
    "representation": ("parties", "viewpoints"),
    "alternative_voices": ("minority_mentions",),
}
"""What each of RADio's metrics reads of the articles: the first of these columns that there is."""

_MAJORITY = "majority_mentions"
"""The column of the other mentions, beside those of the minority."""

_GROUPS = ("category", "source")
"""Columns by which exposure is counted, beside that of the articles themselves."""

_MIXED_IN = 0.001
_BINS = 5
_EXACT_UP_TO = 300
_PARTNERS = 20


class _Measure(NamedTuple):
    """One divergence: each article's shares or number, and the distributions P that lists are compared with."""

    column: str
    of_article: csr_array | np.ndarray  # (rows, values) shares, or (rows,) float64 numbers, NaN where not known
    context: csr_array | None = None  # (contexts, values); None where lists are compared with one another
    context_of: np.ndarray | None = None  # (impressions,) the context of each list
    low: np.ndarray | None = None  # (contexts,) where the first bin of numbers begins
    high: np.ndarray | None = None  # (contexts,) where the last one ends

    @classmethod
    def within(
        cls, column: str, of_article: csr_array | np.ndarray, contexts: Ragged, of: np.ndarray, decay: bool
    ) -> Self:
        """Compare lists with articles: a user's history, the first weighing most by `decay`, or what could be shown."""
        if isinstance(of_article, csr_array):
            return cls(column, of_article, _distribution(contexts, of_article, decay), of)
        numbers = of_article[contexts.values]
        low, high = (_extremes(contexts, numbers, extreme) for extreme in (np.fmin, np.fmax))
        return cls(column, of_article, _binned(contexts, of_article, low, high, decay), of, low, high)

    def distribution(self, lists: Ragged) -> csr_array:
        """Return Q* of each list, (lists, values)."""
        if isinstance(self.of_article, csr_array):
            return _distribution(lists, self.of_article)
        return _binned(lists, self.of_article, self.low[self.context_of], self.high[self.context_of])


@dataclass(frozen=True, eq=False)
class Normative:
    """Measures normative diversity and exposure of the lists that the users of a log get, one for each impression.

    RADio's metrics compare Q*, how a list's first k articles are spread over the values of a column, the article at
    rank r weighing 1/r (Eq. 5), with a distribution P; each is the square root of the Jensen–Shannon divergence to base
    2 (Eq. 2), after 0.001 of either is mixed into the other (Eq. 4): 0 where they are the same, near 1 where they share
    nothing. Means over lists:

    - `calibration_topic@k`, `calibration_complexity@k` (Eq. 7): P is the user's history, the newest click weighing 1,
      the one before 1/2. Without a history, left out.
    - `fragmentation@k` (Eq. 8): P is another user's list; the mean over all of these up to 300 lists, beyond over the
      20 before and the 20 behind in a circle of random order. An article without a story is one of its own.
    - `activation@k` (Eq. 9): the absolute value of a sentiment; P is the impression's candidates, all alike.
    - `representation@k` (Eq. 10): viewpoints, an article's weight shared among them by mentions; P as in activation.
    - `alternative_voices@k` (Eq. 11): mentions of a minority and of the majority; weight and P as in representation.

    Numbers fall into 5 bins of equal width between the lowest and the highest of P, those beyond into the outermost.
    Articles of which a column says nothing are left out of it. Each metric is there where its column is, see `COLUMNS`;
    `columns` says which was read.

    Of exposure, every place of the first k counting alike:

    - `gini@k`, `gini_category@k`, `gini_source@k`: Gini's coefficient of how often articles, categories and sources of
      the catalogue are listed, 0 where all are as often; `coverage_category@k`, `coverage_source@k` the share that is
      listed at all. `source` is a column of articles.parquet. One number for all lists, without a standard error.
    - `cold_share@k`: the share of articles that training never saw.

    Example:
        normative = Normative.fit(dev_log, dev_news, train_log, train_news)
        normative.evaluate_lists(ranked_lists(dev_log.candidates, scores)).metrics  # {"calibration_topic@10": …, …}
    """

    log: ImpressionLog
    k: int
    measures: Mapping[str, _Measure]
    cold: np.ndarray  # (rows,) bool
    exposed: Mapping[str, tuple[np.ndarray, np.ndarray]]  # by column: (rows,) the place of each, (places,) in catalogue
    seed: int

    @classmethod
    def fit(
        cls,
        log: ImpressionLog,
        news: NewsTable,
        training_log: ImpressionLog,
        training_news: NewsTable,
        columns: Mapping[str, str] | None = None,
        k: int = 10,
        seed: int = 42,
    ) -> Self:
        """Look for the columns, and count what lists are compared with.

        Args:
            log: the log whose users the lists are for; its candidates are what could be shown.
            news: the table that its rows point into.
            training_log: the log that models were trained on.
            training_news: its table.
            columns: other columns than those of `COLUMNS`, by metric.
            k: how many articles of a list count.
            seed: of the order in which many lists are compared with one another.

        Raises:
            DataFormatError: there is no such column, or it holds no numbers where these are needed.
        """
        wanted = {name: (columns[name],) if name in (columns or {}) else of for name, of in COLUMNS.items()}
        for name, column in (columns or {}).items():
            _require(name, [*COLUMNS], news, "metric")
            _require(column, _column_names(news), news, "column")
        found = {name: next((c for c in of if c in _column_names(news)), None) for name, of in wanted.items()}
        histories = Ragged(log.histories.values[_newest_first(log.histories)], log.histories.offsets)
        by_user, by_pool = (histories, log.history_of, True), (log.candidates, np.arange(len(log)), False)
        measures = {}
        for name, column in found.items():
            if column is None:
                continue
            if name == "fragmentation":
                measures[name] = _Measure(column, _shares(news, column, alone=column != "category"))
            elif name == "alternative_voices":
                _require(_MAJORITY, _column_names(news), news, "column")
                mentions = np.nan_to_num([_numbers(news, column), _numbers(news, _MAJORITY)]).T
                measures[name] = _Measure.within(column, _normalised(csr_array(mentions)), *by_pool)
            elif name in ("activation", "calibration_complexity"):
                context = by_pool if name == "activation" else by_user
                numbers = _numbers(news, column)
                measures[name] = _Measure.within(column, np.abs(numbers) if context is by_pool else numbers, *context)
            else:
                context = by_user if name == "calibration_topic" else by_pool
                measures[name] = _Measure.within(column, _shares(news, column), *context)
        shown = np.zeros(len(news), bool)
        shown[log.candidates.values] = True
        places = {"": np.arange(len(news))}
        places |= {f"_{column}": _places(news, column) for column in _GROUPS if column in _column_names(news)}
        exposed = {}
        for name, place in places.items():
            exposed[name] = place, np.bincount(place[shown], minlength=place.max() + 1) > 0
        cold = cold_articles(news, training_log, training_news)
        return cls(log, k, measures, cold, exposed, seed)

    @property
    def columns(self) -> dict[str, str]:
        """The column that each of RADio's metrics reads here, by the metric's name without `@k`."""
        return {name: measure.column for name, measure in self.measures.items()}

    def by_list(self, lists: Ragged) -> dict[str, np.ndarray]:
        """Return the metrics that each list has, (lists,) float64, NaN where it has none; the best of a list first."""
        lists = lists.keep(lists.ranks() < self.k)
        values = {}
        for name, measure in self.measures.items():
            found = measure.distribution(lists)
            if measure.context is None:
                values[name] = self._fragmentation(found)
            else:
                values[name] = divergence(measure.context[measure.context_of], found)
        values["cold_share"] = divided(lists.sums(self.cold[lists.values]), lists.lengths, lists.lengths > 0)
        return {f"{name}@{self.k}": of_list for name, of_list in values.items()}

    def evaluate_lists(self, lists: Ragged) -> Evaluation:
        """Average over lists, and add what is one number for all of them; empty lists are left out."""
        found = mean_of_lists(self.by_list(lists), lists.lengths > 0)
        return replace(found, metrics=found.metrics | self.exposure(lists))

    def exposure(self, lists: Ragged) -> dict[str, float]:
        """Return what is one number for all lists."""
        listed = lists.values[lists.ranks() < self.k]
        metrics = {}
        for name, (place, in_catalogue) in self.exposed.items():
            counts = np.bincount(place[listed], minlength=len(in_catalogue))[in_catalogue]
            metrics[f"gini{name}@{self.k}"] = gini(counts)
            if name:  # the coverage of articles is one of `BeyondAccuracy`
                metrics[f"coverage{name}@{self.k}"] = float((counts > 0).mean())
        return metrics

    def _fragmentation(self, found: csr_array) -> np.ndarray:
        """Average each list's divergence from lists of other users, NaN where there is none."""
        named = np.flatnonzero(np.diff(found.indptr))
        circle = np.random.default_rng(self.seed).permutation(named)
        user, found = self.log.user_of[circle], found[circle]
        count = len(circle)
        total, pairs = np.zeros(count), np.zeros(count)
        for shift in range(1, count if count <= _EXACT_UP_TO else _PARTNERS + 1):
            other = np.roll(np.arange(count), -shift)
            differs = user != user[other]
            apart = np.where(differs, divergence(found, found[other]), 0)
            total += apart + np.roll(apart, shift)
            pairs += differs + np.roll(differs, shift).astype(float)
        values = np.full(len(self.log), np.nan)
        values[circle] = divided(total, pairs, pairs > 0)
        return values


def is_normative(metric: str) -> bool:
    """Say whether a metric is one of this module, as `gini_category@10` is."""
    name = metric.partition("@")[0]
    return name in COLUMNS or name == "cold_share" or name.startswith(("gini", "coverage_"))


def mean_of_lists(values: Mapping[str, np.ndarray], counted: np.ndarray) -> Evaluation:
    """Average metrics of lists, or differences of these, as `Evaluation.mean`, but for the error of fragmentation.

    Each list is in the pairs of others, too: the error of a mean over pairs is twice that over lists (Hoeffding, "A
    Class of Statistics with Asymptotically Normal Distribution", 1948, for kernels of two).
    """
    found = Evaluation.mean(values, counted)
    twice = {name: 2 * error for name, error in found.standard_errors.items() if name.startswith("fragmentation")}
    return replace(found, standard_errors=found.standard_errors | twice)


def divergence(p: csr_array, q: csr_array) -> np.ndarray:
    """Return the square root of the Jensen–Shannon divergence, base 2, of rows of P and Q after mixing: (L,) float64.

    Rows are distributions, or empty, which gives NaN; indices are sorted. RADio, Eq. 2 and 4 with α = 0.001.
    """
    # After mixing, both have the same values with a share above 0, so their data lie alike.
    mixed = [((1 - _MIXED_IN) * one + _MIXED_IN * other).data for one, other in ((p, q), (q, p))]
    both = p + q
    middle = (mixed[0] + mixed[1]) / 2
    terms = (rel_entr(mixed[0], middle) + rel_entr(mixed[1], middle)) / (2 * np.log(2))
    total = Ragged(terms, both.indptr).sums()
    defined = (np.diff(p.indptr) > 0) & (np.diff(q.indptr) > 0)
    return np.where(defined, np.sqrt(np.clip(total, 0, 1)), np.nan)  # rounding may leave −1e-17 of 0


def gini(counts: np.ndarray) -> float:
    """Return Gini's coefficient of non-negative counts (n,): half their mean absolute difference by their mean.

    0 where all are the same, (n − 1) / n where one has all, NaN where there is nothing to share.
    """
    n, total = len(counts), counts.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total)) if total else np.nan


# === Distributions ===


def _distribution(lists: Ragged, shares: csr_array, decay: bool = True) -> csr_array:
    """Return how lists are spread over values, each article's weight over its own: RADio, Eq. 5, (lists, values)."""
    weights = csr_array((_weights(lists, decay), lists.values, lists.offsets), shape=(len(lists), shares.shape[0]))
    return _normalised(weights @ shares)


def _binned(lists: Ragged, numbers: np.ndarray, low: np.ndarray, high: np.ndarray, decay: bool = True) -> csr_array:
    """Return how the numbers of lists are spread over bins between two bounds of each list, (lists, bins)."""
    number, width = numbers[lists.values], lists.repeat((high - low) / _BINS)
    known = ~np.isnan(number) & ~np.isnan(width)
    place = divided(number - lists.repeat(low), width, known & (width > 0))
    bins = np.clip(np.nan_to_num(place), 0, _BINS - 1).astype(np.int64)
    kept = Ragged(bins, lists.offsets).keep(known)
    weights = _weights(lists, decay)[known]
    spread = csr_array((weights, kept.values, kept.offsets), shape=(len(lists), _BINS))
    spread.sum_duplicates()
    return _normalised(spread)


def _weights(lists: Ragged, decay: bool) -> np.ndarray:
    return 1 / (lists.ranks() + 1) if decay else np.ones(len(lists.values))


def _normalised(spread: csr_array) -> csr_array:
    """Scale rows to a sum of 1, their values ascending and without zeros; empty rows stay."""
    spread.eliminate_zeros()
    spread.sort_indices()
    spread.data /= np.repeat(spread.sum(axis=1), np.diff(spread.indptr))[: spread.nnz]
    return spread


def _newest_first(histories: Ragged) -> np.ndarray:
    """Return where each history's clicks stand, the last first, (total,) int64."""
    return histories.repeat(histories.offsets[1:] - 1) - histories.ranks()


def _extremes(lists: Ragged, numbers: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Return the lowest or highest known number of each list, NaN where there is none."""
    found = np.full(len(lists), np.nan)
    filled = np.flatnonzero(lists.lengths)
    if len(filled):
        found[filled] = extreme.reduceat(numbers, lists.offsets[filled])
    return found


# === Columns ===


def _column_names(news: NewsTable) -> list[str]:
    return ["category", "subcategory", *(news.extra.column_names if news.extra is not None else ())]


def _require(name: str, known: list[str], news: NewsTable, kind: str) -> None:
    if name not in known:
        problem = f"there is no {kind} {name!r}."
        remedy = f"Did you mean {nearest(name, known)!r}?"
        raise DataFormatError(news.path.with_name(ARTICLES_FILE), problem, remedy=remedy)


def _column(news: NewsTable, name: str) -> pa.Array:
    values = getattr(news, name) if name in ("category", "subcategory") else news.extra[name].combine_chunks()
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _encoded(news: NewsTable, column: str, values: pa.Array, **options: Any) -> pa.DictionaryArray:
    try:
        return values.dictionary_encode(**options)
    except pa.ArrowException:
        problem = f"the column {column!r} must hold text or numbers, not {_column(news, column).type}."
        raise DataFormatError(news.path.with_name(ARTICLES_FILE), problem) from None


def _numbers(news: NewsTable, column: str) -> np.ndarray:
    """Return a column as numbers, (rows,) float64, NaN where it says nothing."""
    try:
        numbers = _column(news, column).cast(pa.float64())
    except pa.ArrowException:
        problem = f"the column {column!r} must hold numbers, not {_column(news, column).type}."
        raise DataFormatError(news.path.with_name(ARTICLES_FILE), problem) from None
    return numbers.to_numpy(zero_copy_only=False)


def _shares(news: NewsTable, column: str, alone: bool = False) -> csr_array:
    """Return what share of each article its values of a column have, by mentions where it is of lists: (rows, values).

    `alone` gives articles of which it says nothing a value of their own.
    """
    values, row = _column(news, column), np.arange(len(news))
    if any(is_of(values.type) for is_of in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        row, values = pc.list_parent_indices(values).to_numpy(), pc.list_flatten(values)
    encoded = _encoded(news, column, values)
    place = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = ~np.isnan(place)
    row, place, count = row[known], place[known].astype(np.int64), len(encoded.dictionary)
    if alone:
        lacking = np.setdiff1d(np.arange(len(news)), row)
        row, place = np.append(row, lacking), np.append(place, count + np.arange(len(lacking)))
        count += len(lacking)
    # Several mentions of one value in an article are summed up here.
    return _normalised(csr_array((np.ones(len(row)), (row, place)), shape=(len(news), max(count, 1))))


def _places(news: NewsTable, column: str) -> np.ndarray:
    """Return the place of each article's value in a column, (rows,) int64; what says nothing counts as one value."""
    encoded = _encoded(news, column, _column(news, column), null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64)
