"""The wire form: what the server's requests and answers are made of, and how large a request may be.

Requests are read strictly: a field that is not known, a number that is not finite or a text in the place of a number is
an error, since a client that misspells `history` would else get what is popular and never know why.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from recommenders_miner.serving.wire_values import Column, Id, Seconds, Topic, Value

MOST_K = 1000
MOST_CLICKS = 1000
MOST_EVENTS = 1000
MOST_EXPLAINED = 100

_A_DAY = 24 * 3600
_MOST_COLUMNS = 100


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(BaseModel):
    pass


# === Whom a request is about ===


class OfSomeone(_Request):
    """A user, whose clicks the store has, or clicks; both where a model knows users but the caller keeps the clicks."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["user"], "properties": {"user": {"type": "string"}}},
                {"required": ["history"], "properties": {"history": {"type": "array"}}},
            ]
        }
    )

    user: Id | None = Field(None, description="Whose clicks are taken from the store, unless `history` is given.")
    history: Annotated[list[Id], Field(max_length=MOST_CLICKS)] | None = Field(
        None, description="Ids of clicked articles, newest last; those that are not known are passed over."
    )
    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="A model's name as in GET /v1/models; without it the user's own."
    )

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if self.user is None and self.history is None:
            raise ValueError("give a user, or a history (which may be empty)")
        return self


# === Recommendations ===


class PinnedArticle(_Request):
    """An article at a place, in one list."""

    id: Id
    place: int = Field(ge=1, le=MOST_K, description="From 1.")


class RecommendRequest(OfSomeone):
    """What to recommend, to whom."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "U13740", "k": 10, "max_age": 172800}]})

    k: int = Field(10, ge=1, le=MOST_K, description="How many articles, at most.")
    max_age: Annotated[Seconds, Field(gt=0)] | None = Field(
        None, description="Only articles that were published within so many seconds."
    )
    where: Annotated[dict[Column, Value], Field(max_length=20)] | None = Field(
        None, description="Only articles that have this value, or one of these, in a column.", examples=[{"lang": "da"}]
    )
    exclude: Annotated[list[Id], Field(max_length=10_000)] = Field([], description="Articles not to recommend.")
    policy: Annotated[str, Field(max_length=200)] | None = Field(
        None,
        description='The policy that arranges the list, as in GET /v1/models; "" for none; without it the user\'s own.',
    )
    dial: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Strength of the policy's reranker in the place of its own; passed over without.",
    )
    topics: Annotated[list[Topic], Field(max_length=100)] = Field(
        [], description="What the user has named, for policies that ask for it; others pass it over."
    )
    pins: Annotated[list[PinnedArticle], Field(max_length=100)] = Field(
        [], description="Articles at places of this list alone. A pin for everybody stands in the policy's file."
    )
    why_not: Annotated[list[Id], Field(max_length=MOST_EXPLAINED)] = Field(
        [], description="Articles of which the answer is to say why they are missing; needs a policy."
    )

    @property
    def limits(self) -> dict[str, Any]:
        """What a model's `recommend` takes of the request."""
        return {"max_age": self.max_age, "where": self.where, "exclude": self.exclude}

    @model_validator(mode="after")
    def _pins_differ(self) -> Self:
        for values in ([pin.place for pin in self.pins], [pin.id for pin in self.pins]):
            if len({*values}) < len(values):
                raise ValueError("two pins want one place, or one article")
        if behind := [pin.place for pin in self.pins if pin.place > self.k]:
            raise ValueError(f"a pin wants place {behind[0]}, and the list has {self.k} (k)")
        return self


class Moved(_Answer):
    """That a rule of the policy put an article from its rank by the scores to its place, both from 1."""

    rule: str
    rank: int
    place: int


class RelaxedRule(_Answer):
    """A rule of the policy that was not kept, by how many articles or places, and what it clashes with."""

    rule: str
    by: int
    clashes: list[str]


class WhyNot(_Answer):
    """Why an article is missing; `other` is the one of the list that tells the same story."""

    id: str
    rule: str
    text: str
    other: str | None = None


Why = Literal["model", "popular", "explored"]


class Recommendation(_Answer):
    """An article, and why it is there: the model's choice, popular now, or shown to learn how it does."""

    id: str
    score: float = Field(description="The model's; where it has not chosen, 1 / place.")
    title: str
    category: str
    why: Why
    moved: Moved | None = Field(None, description="What moved it, where a policy arranged the list.")


class Recommendations(_Answer):
    """An answer. Events that name its id make training data of it."""

    id: str
    model: str
    articles: list[Recommendation]
    policy: str | None = None
    relaxed: list[RelaxedRule] | None = Field(None, description="Rules of the policy that were not kept.")
    why_not: list[WhyNot] | None = Field(None, description="Of the articles that were asked about, those missing.")


# === Events and users ===


def _not_far_ahead(when: float) -> float:
    if when > time.time() + _A_DAY:
        raise ValueError("lies more than a day ahead; give Unix seconds (not milliseconds), or leave it out for now")
    return when


class WireEvent(_Request):
    """That an article was clicked, or shown. An event whose id is known already is not counted again."""

    id: Id
    user: Id
    article: Id
    type: Literal["click", "shown"]
    time: Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_not_far_ahead)] | None = Field(
        None, description="Unix seconds; by default now.", examples=[1573463158]
    )
    answer: Id | None = Field(None, description="The id of the answer that recommended the article.")


class EventsRequest(_Request):
    """Events, in any order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"events": [{"id": "e-1", "user": "U13740", "article": "N55189", "type": "click"}]}]
        }
    )

    events: list[WireEvent] = Field(max_length=MOST_EVENTS)


class Recorded(_Answer):
    """How many events are durable now, and how many were before."""

    recorded: int
    repeated: int


class Click(_Answer):
    """A click, and its time in Unix seconds."""

    article: str
    time: int


class UserClicks(_Answer):
    """All that is kept of a user, oldest click first; how often articles were shown that were not clicked on."""

    user: str
    clicks: list[Click]
    shown: dict[str, int] | None = None


class Forgotten(_Answer):
    """How many clicks of a user were removed."""

    user: str
    forgotten: int


# === Articles ===


class ArticleRow(_Request):
    """An article; further columns of any name are kept, and `where` may ask for them."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "maxProperties": _MOST_COLUMNS,
            "examples": [{"title": "Storm over Funen", "category": "weather", "published": 1573463158, "lang": "da"}],
        },
    )
    __pydantic_extra__: dict[Column, Value]

    id: Id | None = Field(None, description="Need not be here; if it is, that of the address.")
    title: str = Field(min_length=1, max_length=2000)
    category: str = Field("", max_length=200)
    subcategory: str = Field("", max_length=200)
    abstract: str = Field("", max_length=100_000)
    published: Seconds | None = Field(None, description="Unix seconds.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if len(self.model_extra or {}) + len(self.model_fields_set) > _MOST_COLUMNS:
            raise ValueError(f"an article has at most {_MOST_COLUMNS} columns")
        return self

    def as_row(self, article: str) -> dict[str, Any]:
        """Return the row that models are given: without what is None, `published` in whole seconds."""
        row = self.model_dump(exclude_none=True) | {"id": article}
        return row if self.published is None else row | {"published": int(self.published)}


class Changed(_Answer):
    """That an article was put or removed; changes are numbered in their order."""

    id: str
    change: int


class ListedArticle(_Answer):
    """An article as lists show it; `published` in Unix seconds."""

    id: str
    title: str
    category: str
    subcategory: str
    published: int | None


class ListedArticles(_Answer):
    """Articles that were asked for, the newest first; how many there are in all, and the categories of all articles."""

    total: int
    articles: list[ListedArticle]
    categories: list[str]


# === Models ===


class ServedModel(_Answer):
    """A model, the share of users that it answers, and how many clicks it reads, the newest."""

    name: str
    kind: str
    share: float
    history: int


class ServedPolicy(_Answer):
    """A policy, the share of users whose lists it arranges unless they ask otherwise, its reranker and dial."""

    name: str
    title: str
    share: float
    rerank: str | None
    dial: float | None
    version: str


class ServedModels(_Answer):
    """The models that answer, and the policies that arrange."""

    models: list[ServedModel]
    policies: list[ServedPolicy] = []


class ExplainRequest(OfSomeone):
    """Articles whose scores to explain."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"history": ["N55189", "N46039"], "articles": ["N61837"]}]}
    )

    articles: list[Id] = Field(min_length=1, max_length=MOST_EXPLAINED)


class MapRequest(OfSomeone):
    """Clicks whose interests to draw among the articles."""

    limit: int = Field(2000, ge=1, le=10_000, description="How many articles, at most.")


class Part(BaseModel):
    """A part of an answer about which a model may say more than stands here."""

    model_config = ConfigDict(extra="allow")


class Explanation(Part):
    """Which interests and which clicks the scores come from."""

    model: str
    history: list[Part]
    candidates: list[Part]


class Map(Part):
    """Places of articles and interests in the plane, along the principal axes of the articles' vectors."""

    articles: list[Part]
    interests: list[Part]


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it: `detail` says what to change."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
