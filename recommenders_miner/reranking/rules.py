"""A policy's rules bound to articles: all that is costly for many articles is done here, once."""

from __future__ import annotations

import difflib
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from recommenders_miner.data.text import tokenize
from recommenders_miner.errors import PolicyError, nearest
from recommenders_miner.reranking.columns import Column
from recommenders_miner.reranking.policy import KINDS, Pin, Policy

_TITLE_DIM = 256

AGES, SHOWN, SAME_STORY, EXPLORE, TOPICS = range(5)
"""The places of these rules among a plan's; quotas, floors and pins follow."""


class Rule(NamedTuple):
    """A rule; those with a lower level give way first, and only those below `Rules.places_level`."""

    kind: str
    title: str
    level: int


class Rules:
    """What a policy says of N articles; see `Plan`.

    Attributes:
        policy: the policy.
        rules: what can be kept or broken, with titles that are all different.
        levels: their levels, and behind them that of the places, (R + 1,).
        warnings: values in the policy that no article has, in sentences.
    """

    def __init__(self, policy: Policy, columns: Mapping[str, Sequence[Any]], vectors: Any = None) -> None:
        self.policy, self.warnings = policy, []
        for name, where in policy.columns.items():
            self._require(columns, name, where)
        self.num_articles = len(next(iter(columns.values())))
        if any(len(values) != self.num_articles for values in columns.values()):
            raise PolicyError(policy.where, f"columns differ in length: { ({n: len(v) for n, v in columns.items()}) }.")
        self.columns = {name: Column.of(columns[name]) for name in sorted(policy.named_columns)}
        self.places_level = len(policy.relax) + 1
        self._make_rules()
        self._bind_quotas()
        self._bind_ages(columns)
        members = [self._having(rule.column, rule.value, "floors") for rule in policy.floors]
        self.floor_members = np.array(members, bool).reshape(len(members), self.num_articles).T.copy()
        self.pins = self._pins(columns.get("id", ()))
        self.vectors = self._vectors(columns, vectors)

    def _require(self, columns: Mapping[str, Sequence[Any]], name: str, where: str) -> None:
        if name not in columns:
            problem = f"{where}: articles have no column {name!r}."
            remedy = f"Did you mean {nearest(name, map(str, columns))!r}?" if columns else None
            raise PolicyError(self.policy.where, problem, remedy)

    def _make_rules(self) -> None:
        policy, relax = self.policy, self.policy.relax
        kinds = [(kind, kind) for kind in ("ages", "shown", "same_story", "explore", "topics")]
        kinds += [(kind, rule.title) for kind in ("quotas", "floors", "pins") for rule in getattr(policy, kind)]

        def level(kind: str, title: str) -> int:
            named = title if title in relax else kind
            return relax.index(named) + 1 if named in relax else self.places_level + 1 + KINDS.index(kind)

        self.rules = [Rule(kind, title, level(kind, title)) for kind, title in kinds]
        self.levels = np.array([*(rule.level for rule in self.rules), self.places_level])
        self.first_quota = TOPICS + 1
        self.first_floor = self.first_quota + len(policy.quotas)
        self.first_pin = self.first_floor + len(policy.floors)
        self.floor_rules = np.append(np.arange(self.first_floor, self.first_pin), TOPICS)

    def _bind_quotas(self) -> None:
        """Give each value that a quota counts a bucket, and say which ones an article is in, (N, m), B for none."""
        parts, rule_of, labels = [], [], []
        for rule, quota in enumerate(self.policy.quotas, start=self.first_quota):
            column = self.columns[quota.column]
            if quota.value is None:
                parts.append(np.where(column.codes >= 0, column.codes + len(rule_of), -1))
                rule_of += [rule] * len(column.names)
                labels += column.names
            else:
                mask = self._having(quota.column, quota.value, "quotas")
                parts.append(np.where(mask, len(rule_of), -1)[:, None])
                rule_of.append(rule)
                labels.append(" or ".join(map(str, quota.value)))
        buckets = np.concatenate([np.empty((self.num_articles, 0), int), *parts], axis=1)
        self.buckets = np.where(buckets < 0, len(rule_of), buckets).astype(np.int32)
        self.bucket_rules, self.bucket_labels = np.array(rule_of, int), labels

    def _bind_ages(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.oldest = np.full(self.num_articles, math.inf)
        self.half_lives = np.full(self.num_articles, math.inf)
        for age in self.policy.ages:
            mask = True if age.column is None else self._having(age.column, age.value, "ages")
            if age.at_most is not None:
                self.oldest = np.where(mask, age.at_most, self.oldest)
            if age.half_life is not None:
                self.half_lives = np.where(mask, age.half_life, self.half_lives)
        self.has_half_lives = bool(np.isfinite(self.half_lives).any())
        self.needs_age = self.policy.needs_age
        self.published = np.full(self.num_articles, np.nan)
        if self.needs_age:
            published = columns["published"]
            seconds = published.to_pylist() if hasattr(published, "to_pylist") else published
            self.published = np.array([value or math.nan for value in seconds], float)

    def pinned(self, pins: Mapping[Pin, int]) -> Rules:
        """See `Plan.pinned`."""
        other, places, articles = copy(self), {pin.place for pin in pins}, {pin.article for pin in pins}
        old = zip(self.policy.pins, (row for _, row, _, _ in self.pins), strict=True)
        kept = [(pin, row) for pin, row in old if pin.place not in places and pin.article not in articles]
        both = [*kept, *pins.items()]
        other.policy = self.policy.model_copy(update={"pins": tuple(pin for pin, _ in both)})
        other._make_rules()
        other.pins = [
            (rule, row, self.policy.hours(pin), pin.place) for rule, (pin, row) in enumerate(both, other.first_pin)
        ]
        return other

    def _having(self, name: str, values: Iterable[Any], where: str) -> np.ndarray:
        """Say which articles have one of some values in a column, (N,) bool."""
        column = self.columns[name]
        for value in values:
            if str(value) not in column.code_of:
                close = difflib.get_close_matches(str(value), column.names, n=1)
                remedy = f" Did you mean {close[0]!r}?" if close else ""
                self.warnings.append(f"{where}: no article has {name} {value!r}.{remedy}")
        return column.have(values)

    def _pins(self, ids: Any) -> list[tuple[int, int, tuple[float, float], int]]:
        """Return of each pin the rule, the article's row (-1 where there is none), its hours and its place, from 1."""
        if not self.policy.pins:
            return []
        row_of = {name: row for row, name in enumerate(ids.to_pylist() if hasattr(ids, "to_pylist") else ids)}
        return [
            (rule, row_of.get(pin.article, -1), self.policy.hours(pin), pin.place)
            for rule, pin in enumerate(self.policy.pins, start=self.first_pin)
        ]

    def _vectors(self, columns: Mapping[str, Sequence[Any]], vectors: Any) -> np.ndarray | None:
        """Return vectors of length 1, or 0, float32 (N, d), where a rule compares articles."""
        policy = self.policy
        if policy.same_story is None and not (policy.rerank and policy.rerank.by == "mmr" and not policy.rerank.column):
            return None
        if vectors is None:
            self._require(columns, "title", "same_story" if policy.same_story else "rerank")
            titles = columns["title"]
            vectors = title_vectors(titles.to_pylist() if hasattr(titles, "to_pylist") else titles)
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != self.num_articles:
            raise ValueError(f"vectors: expected {self.num_articles:,} rows of numbers, got {vectors.shape}.")
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def title_vectors(titles: Sequence[str | None]) -> np.ndarray:
    """Return the words of each title, weighed by TF-IDF, as vectors that tell the same story by their cosine.

    Words are hashed to 256 places and signs (Weinberger et al., *Feature Hashing for Large Scale Multitask Learning*,
    ICML 2009), so that titles that come later need no vocabulary; two titles without a word in common have a cosine of
    0 ± 0.06. (N, 256) float32.
    """
    words = [tokenize(title or "") for title in titles]
    frequency: dict[str, int] = {}
    for word in (word for title in words for word in set(title)):
        frequency[word] = frequency.get(word, 0) + 1
    weights = {}
    for word, count in frequency.items():
        digest = zlib.crc32(word.encode("utf-8", "replace"))
        idf = math.log((1 + len(words)) / (1 + count)) + 1
        weights[word] = (digest >> 1) % _TITLE_DIM, idf if digest & 1 else -idf
    vectors = np.zeros((len(words), _TITLE_DIM), np.float32)
    for vector, title in zip(vectors, words, strict=True):
        for word in title:
            place, weight = weights[word]
            vector[place] += weight
    return vectors
