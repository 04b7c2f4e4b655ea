"""POPROX's protocol: what its platform sends a recommender and takes of it, and how it is answered here.

POPROX sends newsletters of articles by the Associated Press to volunteers, for experiments (https://poprox.ai). The
schema is that of its package poprox-concepts (https://github.com/CCRI-POPROX/poprox-concepts): protocol 5.0-2025-11-14,
`src/poprox_concepts/api/recommendations/v5.py` at commit 33594e2, which the endpoint of poprox-recommender takes
(`src/poprox_recommender/api/main.py` at 1ac5426); and 6.0-2026-07-23, `v6.py` at c54acab. Fields that nothing reads are
passed over, and articles come back as they were sent.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recommenders_miner import __version__
from recommenders_miner.reranking import Policy
from recommenders_miner.serving.catalog import Card
from recommenders_miner.serving.policies import Articles, Bound
from recommenders_miner.serving.wire import MOST_K
from recommenders_miner.serving.wire_values import is_unicode

if TYPE_CHECKING:
    from recommenders_miner.serving.runtime import Recommender

V5, V6 = "5.0-2025-11-14", "6.0-2026-07-23"
MOST_KEPT = 5000
"""So many of the platform's articles are kept encoded; then those of the request at hand are the first again."""
INTERESTED = 4
"""A preference of 1 to 5 from which on an interest counts as a topic that the user has named."""
_DEEPEST = 100
"""So many lists and objects in one another can be sent back; pydantic writes about 250."""
_MOST_MODELS = 8  # those of several arms, and of exports whose place others have taken
_COLUMNS = ("id", "title", "category", "subcategory", "published", "topics", "source")


class _Sent(BaseModel):
    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _can_be_sent_back(self) -> Self:
        values: list[Any] = [self.model_extra]
        for _ in range(_DEEPEST + 2):  # the fields themselves, and their values
            if not all(is_unicode(value) for value in values if isinstance(value, str)):
                raise ValueError("a further field holds half of a surrogate pair, which is no valid Unicode")
            lists = [value for value in values if isinstance(value, list)]
            values = [each for value in values if isinstance(value, dict) for each in (*value, *value.values())]
            values += [each for value in lists for each in value]
            if not values:
                return self
        raise ValueError(f"a further field is nested deeper than {_DEEPEST} levels")


class _Entity(_Sent):
    name: str
    entity_type: str


class _Mention(_Sent):
    entity: _Entity
    relevance: float | None = None


class Article(_Sent):
    """An article as the platform knows it."""

    article_id: UUID
    headline: str
    subhead: str | None = None
    body: str | None = None
    mentions: list[_Mention] = []
    source: str | None = None
    preview_image_id: UUID | None = None
    published_at: datetime | None = None

    def as_row(self) -> dict[str, Any]:
        """Return the row that models are given; the category is that of the most relevant topic, in small letters."""
        topics = [mention for mention in self.mentions if mention.entity.entity_type == "topic"]
        topics.sort(key=lambda mention: -(mention.relevance or 0))
        names = list(dict.fromkeys(mention.entity.name for mention in topics))
        row = {"title": self.headline, "abstract": self.subhead, "body": self.body, "source": self.source}
        row |= {"topics": names, "category": names[0].lower() if names else None}
        if self.published_at is not None:
            at = self.published_at if self.published_at.tzinfo else self.published_at.replace(tzinfo=UTC)
            row["published"] = int(at.timestamp()) or None  # 1970 is what the platform says where it does not know
        return {"id": str(self.article_id), **{name: value for name, value in row.items() if value}}


class _Articles(BaseModel):
    articles: list[Article]


class _Click(BaseModel):
    article_id: UUID
    timestamp: datetime | None = None


class _Interest(BaseModel):
    entity_name: str
    entity_type: str
    preference: int


class _Profile(BaseModel):
    profile_id: UUID | None = None
    click_history: list[_Click]
    entity_interests: list[_Interest]


class _Package(BaseModel):
    package_id: UUID
    article_ids: list[UUID]


class Request(BaseModel):
    """A request of the platform: candidates and clicked articles, and whose clicks and interests they are."""

    protocol_version: Literal["5.0-2025-11-14", "6.0-2026-07-23"] = V5
    request_id: UUID | None = None
    interest_profile: _Profile
    interacted: _Articles
    num_recs: Annotated[int, Field(gt=0, le=MOST_K)]
    impressed_article_ids: list[UUID] = []
    candidates: _Articles | None = Field(None, description="Of 5.0.")
    articles: list[Article] | None = Field(None, description="Of 6.0; candidates are those of the default package.")
    article_packages: list[_Package] = []
    default_package_id: UUID | None = None

    @model_validator(mode="after")
    def _has_candidates(self) -> Self:
        if self.protocol_version == V5 and self.candidates is None:
            raise ValueError(f"candidates is missing, which {V5} asks for")
        if self.protocol_version == V6:
            known = {article.article_id for article in self.articles or []}
            packages = {package.package_id: package for package in self.article_packages}
            if self.articles is None or self.default_package_id not in packages:
                raise ValueError(f"{V6} asks for articles, and article_packages with that of default_package_id")
            if unknown := [*{*packages[self.default_package_id].article_ids} - known]:
                raise ValueError(f"the default package names {unknown[0]}, which is not among the articles")
        return self

    def to_choose_from(self) -> list[Article]:
        """Return the candidates, each once."""
        if self.candidates is not None and self.protocol_version == V5:
            sent = self.candidates.articles
        else:
            packages = {package.package_id: package for package in self.article_packages}
            wanted = {*packages[self.default_package_id].article_ids}
            sent = [article for article in self.articles or [] if article.article_id in wanted]
        return [*{article.article_id: article for article in sent}.values()]

    def history(self) -> list[str]:
        """Return the ids of the clicked articles, newest last."""
        clicks = self.interest_profile.click_history
        if all(click.timestamp for click in clicks):
            clicks = sorted(clicks, key=lambda click: click.timestamp.replace(tzinfo=click.timestamp.tzinfo or UTC))
        return [str(click.article_id) for click in clicks]

    def topics(self) -> list[str]:
        """Return the topics that the user is interested in, as they are written and in small letters."""
        liked = [one for one in self.interest_profile.entity_interests if one.preference >= INTERESTED]
        names = [one.entity_name for one in liked if one.entity_type == "topic"]
        return [*names, *map(str.lower, names)]


class Answerer:
    """Answers the platform's requests from what they hold; its articles never stand in the lists of others.

    An article of the service's own catalog is taken as it is there, others as they were sent. They are encoded for the
    first request that has them, and kept for the next ones until they change.
    """

    def __init__(self) -> None:
        self._sides: dict[str, tuple[Recommender, dict[str, int]]] = {}  # and digests of what they have
        self._lock = Lock()

    def answer(self, request: Request, model: Recommender, policy: tuple[str, Policy] | None) -> tuple[dict, list[str]]:
        """Return the answer in the platform's form, and the titles of rules that were not kept.

        Raises:
            PolicyError: the policy names a column that the platform's articles lack.
        """
        history, clicked = request.history(), {click.article_id for click in request.interest_profile.click_history}
        candidates = [article for article in request.to_choose_from() if article.article_id not in clicked]
        sent = {str(article.article_id): article for article in (*request.interacted.articles, *candidates)}
        rows = {id: _row(model, id, article) for id, article in sent.items()}
        ids = [str(article.article_id) for article in candidates]
        side = self._with(model, rows)
        if is_known := any(article in side for article in history):
            scores = side.score(history, ids).astype(np.float64)
        else:
            newest = np.argsort([-rows[id].get("published", 0) for id in ids], kind="stable")
            scores = np.empty(len(ids))
            scores[newest] = 1 / np.arange(1, len(ids) + 1)
        name, rules = policy or ("", Policy())
        bound = Bound.of(name, rules, Articles(_columns(rows)))
        found = bound.arrange(
            np.array(bound.articles.rows(ids), np.int64),
            scores,
            request.num_recs,
            history=history,
            seed=uuid.uuid4().int,
            shown=Counter(map(str, request.impressed_article_ids)),
            topics=request.topics(),
        )
        impressions = [
            _impression(sent[id], place, {"score": score, "why": why, "moved": moved and moved.model_dump()})
            for place, (id, score, why, moved) in enumerate(found.chosen("model" if is_known else "popular"), start=1)
        ]
        section = dict.fromkeys(("section_id", "title", "flavor", "seed_entity_id", "position"))
        return {
            "protocol_version": request.protocol_version,
            "request_id": request.request_id,
            "recommendations": [section | {"personalized": is_known, "impressions": impressions}],
            "recommender": {"name": name or model.kind, "version": __version__, "hash": model.name},
        }, bound.titles(found.answer([])["relaxed"])

    def _with(self, model: Recommender, rows: Mapping[str, Mapping[str, Any]]) -> Recommender:
        """Return a recommender of a model that has these articles, and none of the service's others."""
        with self._lock:
            if model.name not in self._sides or len(self._sides[model.name][0]) > MOST_KEPT:
                self._sides[model.name] = model.apart(), {}
                for name in [*self._sides][:-_MOST_MODELS]:
                    del self._sides[name]
            side, known = self._sides[model.name]
            digests = {id: Card.of(row).digest for id, row in rows.items()}
            side.add_articles([row for id, row in rows.items() if digests[id] != known.get(id)])
            known |= digests
        return side


def _row(model: Recommender, id: str, article: Article) -> Mapping[str, Any]:
    """Return an article as a model has it, else as it was sent."""
    try:
        return model.article(id)
    except KeyError:
        return article.as_row()


def _columns(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys((*_COLUMNS, *(name for row in rows.values() for name in row)))
    return {name: [row.get(name) for row in rows.values()] for name in names}


def _impression(article: Article, place: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the platform calls an article at a place of a newsletter."""
    nothing = dict.fromkeys(("newsletter_id", "created_at", "label", "feedback"))
    return nothing | {
        "impression_id": str(uuid.uuid4()),
        "position": place,
        "position_in_section": place,
        "article": article.model_dump(mode="json", exclude_unset=True),
        "headline": article.headline,
        "subhead": article.subhead,
        "preview_image_id": article.preview_image_id,
        "extra": extra,
    }
