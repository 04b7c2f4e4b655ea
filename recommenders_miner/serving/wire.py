"""The wire form: what the server's requests and answers are made of, and how large a request may be.

Requests are read strictly: a field that is not known, a number that is not finite or a text in the place of a number is
an error, since a client that misspells `history` would else get what is popular and never know why.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

MOST_K = 1000
MOST_CLICKS = 1000
MOST_EVENTS = 1000
MOST_EXPLAINED = 100
LATEST_TIME = 1e11
"""Seconds, in the year 5138: what is later is no time that a database holds."""

_A_DAY = 24 * 3600
_LARGEST, _LONGEST_TEXT = 2**53, 100_000
_MOST_COLUMNS = 100

Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        # Ids stand in TSV files, separated by spaces; U+FFFD is what bytes that are not UTF-8 become in an address.
        pattern=r"^[^\s\x00-\x1f\x7f\ufeff\ufffd]+$",
        description="1 to 200 characters, without white space and control characters.",
    ),
]
Seconds = Annotated[float, Field(ge=0, le=LATEST_TIME, allow_inf_nan=False)]


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half of a surrogate pair, which JSON can name, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Let through what databases and tables hold, in one message for all that they do not."""
    for one in value if isinstance(value, list) else [value]:
        is_number = isinstance(one, int | float) and abs(one) <= _LARGEST
        is_text = isinstance(one, str) and len(one) <= _LONGEST_TEXT and _is_unicode(one)
        if not (one is None or is_number or is_text):
            raise ValueError(
                f"has to be a text of at most {_LONGEST_TEXT:,} characters, a number up to 2^53, true, false or null, "
                "or a list of these"
            )
    return value


_PLAIN = {"type": ["string", "number", "boolean", "null"], "maxLength": _LONGEST_TEXT}
Value = Annotated[
    Any,
    PlainValidator(_plain),
    WithJsonSchema({"anyOf": [_PLAIN, {"type": "array", "items": _PLAIN}]}),
]
Column = Annotated[str, Field(min_length=1, max_length=100)]


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


class Recommendation(_Answer):
    """An article, and why it is there: the model's choice, popular now, or shown to learn how it does."""

    id: str
    score: float = Field(description="The model's; where it has not chosen, 1 / place.")
    title: str
    category: str
    why: Literal["model", "popular", "explored"]


class Recommendations(_Answer):
    """An answer. Events that name its id make training data of it."""

    id: str
    model: str
    articles: list[Recommendation]


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
    """All that is kept of a user, oldest click first."""

    user: str
    clicks: list[Click]


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


class ServedModels(_Answer):
    """The models that answer."""

    models: list[ServedModel]


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
