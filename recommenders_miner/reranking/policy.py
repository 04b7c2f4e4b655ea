"""What an editor asks of lists, in one YAML file: docs/policies.md explains the keys.

A file that contradicts itself is refused when it is read. What clashes only for some list, since its pool lacks what a
floor asks for, say, is settled there in the order of `relax`, and the list says so.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from recommenders_miner.errors import PolicyError, nearest
from recommenders_miner.storage import parse_yaml

RELAX = ("explore", "topics", "floors", "shown", "ages", "same_story", "quotas")
"""The order in which rules give way where a file says nothing of it. Pins come last, and do not give way."""

KINDS = (*RELAX, "pins")
_SECONDS = {"min": 60, "h": 3600, "d": 24 * 3600}
_SHOWN_VALUES = 3


# === Values as an editor writes them ===


def _duration(value: Any) -> float:
    """Return the seconds of `90 min`, `36 h` or `7 d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h|d)", str(value).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError("expected minutes, hours or days, such as 90 min, 36 h or 7 d")
    return float(match[1]) * _SECONDS[match[2]]


def _amount(value: Any) -> int | float:
    """Return a whole number of places as an int, and a share such as `20%` as a fraction."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return _share(value, "a whole number of places, or a share such as 20%")


def _share(value: Any, expected: str = "a share such as 20%") -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", str(value).strip())
    if match is None or float(match[1]) > 100:
        raise ValueError(f"expected {expected}")
    return float(match[1]) / 100


def _moment(value: Any) -> datetime:
    """Return a date and time, of which YAML reads some forms itself; without a zone it is the file's."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("expected a date and time such as 2019-11-14 06:00") from None


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a time zone such as UTC or Europe/Copenhagen") from None
    return name


_MOST = 1_000_000
"""Places and showings, at most, so that counts of them are such as arrays hold."""

Duration = Annotated[float, BeforeValidator(_duration)]
Amount = Annotated[int | float, BeforeValidator(_amount), Field(le=_MOST)]
Share = Annotated[float, BeforeValidator(_share)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Value = str | int | float | bool
Values = Annotated[
    tuple[Value, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list | tuple) else (value,)),
]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _OfColumn(_Section):
    """Articles that have one of some values in a column."""

    column: Text
    value: Values

    @property
    def of(self) -> str:
        """The articles in words, as `category sports`."""
        shown = " or ".join(map(str, self.value[:_SHOWN_VALUES]))
        return f"{self.column} {shown}" + (" …" if len(self.value) > _SHOWN_VALUES else "")


# === The sections ===


class Pin(_Section):
    """An article at a place, from 1, from one moment up to another one."""

    article: Text
    place: int = Field(ge=1)
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = None
    name: Text | None = None

    @property
    def title(self) -> str:
        """What the rule is called."""
        return self.name or f"{self.article} at place {self.place}"


class Floor(_OfColumn):
    """At least so many articles with one of some values."""

    at_least: Amount
    name: Text | None = None

    @property
    def title(self) -> str:
        """What the rule is called."""
        return self.name or f"at least {_written(self.at_least)} of {self.of}"


class Quota(_Section):
    """At most so many articles with one of some values; without values, with each value that there is."""

    column: Text
    value: Values | None = None
    at_most: Amount
    name: Text | None = None

    @property
    def title(self) -> str:
        """What the rule is called."""
        of = f"each {self.column}" if self.value is None else _OfColumn(column=self.column, value=self.value).of
        return self.name or f"at most {_written(self.at_most)} of {of}"


class Age(_Section):
    """How old articles may be, and after how long their relevance is half; all articles, or those with some values."""

    column: Text | None = None
    value: Values | None = None
    at_most: Duration | None = None
    half_life: Duration | None = None

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.column is None) != (self.value is None):
            raise ValueError("give a column and a value, or, for all articles, neither")
        if self.at_most is None and self.half_life is None:
            raise ValueError("give at_most, half_life or both")
        return self


class Explore(_Section):
    """The share of places for articles that are drawn at random, to learn how they do."""

    share: Share
    newer_than: Duration | None = None


class Topics(_Section):
    """The share of places for the topics that a user has named, values of a column."""

    share: Share
    column: Text = "category"


class Rerank(_Section):
    """What orders articles beside their relevance, and how strongly: 0 is relevance alone, 1 the other end."""

    by: Literal["mmr", "calibrated", "xquad", "pm2"]
    dial: float = Field(0.5, ge=0, le=1)
    column: Text | None = None
    target: Literal["history", "even"] = "history"

    @pydantic.model_validator(mode="after")
    def _has_column(self) -> Self:
        if self.by != "mmr" and self.column is None:
            raise ValueError(f"{self.by} needs a column, such as category")
        return self


class Policy(_Section):
    """A policy; `read` makes one of a file.

    Attributes:
        places: how long the lists are that the file was written for.
        timezone: of moments that name none.
        same_story: the cosine of two articles' vectors from which on one of them is enough.
        shown: times that an article is shown to a user who does not click on it.
        relax: names or kinds of rules, the first to give way first; rules that are not there do not give way, and a
            list is shorter rather.
    """

    name: Text = "policy"
    places: int = Field(20, ge=1, le=1000)
    timezone: Annotated[Text, AfterValidator(_zone)] = "UTC"
    pins: tuple[Pin, ...] = ()
    quotas: tuple[Quota, ...] = ()
    floors: tuple[Floor, ...] = ()
    ages: tuple[Age, ...] = ()
    same_story: float | None = Field(None, gt=0, le=1)
    shown: int | None = Field(None, ge=1, le=_MOST)
    explore: Explore | None = None
    topics: Topics | None = None
    rerank: Rerank | None = None
    relax: tuple[Text, ...] = RELAX
    _where: str = PrivateAttr("policy")  # what errors name

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file.

        Raises:
            PolicyError: the file is missing or no YAML, a key is unknown (the nearest one is named), a value has the
                wrong form, or rules contradict each other; the message names both.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is not UTF-8"
            raise PolicyError(str(path), f"cannot be read: {said}.") from None
        try:
            values = parse_yaml(text)
        except ValueError as error:
            raise PolicyError(str(path), f"is not readable as YAML: {error}") from None
        return cls.of(values, str(path))

    @classmethod
    def of(cls, values: Any, where: str = "policy") -> Self:
        """Make a policy of what a file says, plain values in a dict; `where` is the file that errors name."""
        if not isinstance(values, Mapping):
            raise PolicyError(where, f"expected keys and values, such as quotas: [...], found {values!r:.50}.")
        try:
            policy = cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise PolicyError(where, *_worded(error.errors()[0])) from None
        policy._where = where
        for problem in policy._contradictions():
            raise PolicyError(where, problem)
        return policy

    @property
    def where(self) -> str:
        """The file that the policy was read from, which errors name."""
        return self._where

    @property
    def columns(self) -> dict[str, str]:
        """The columns that a `Plan` needs, and where the file names each."""
        needed = {"id": "pins"} if self.pins else {}
        if self.needs_age:
            needed["published"] = "ages" if self.ages else "explore"
        return self.named_columns | needed

    @property
    def needs_age(self) -> bool:
        """Whether a rule asks how old articles are."""
        return bool(self.ages or (self.explore and self.explore.newer_than))

    @property
    def named_columns(self) -> dict[str, str]:
        """The columns whose values rules name, and where the file does so."""
        named = {rule.column: f"quotas: {rule.title}" for rule in self.quotas}
        named |= {rule.column: f"floors: {rule.title}" for rule in self.floors}
        named |= {rule.column: "ages" for rule in self.ages if rule.column}
        named |= {self.topics.column: "topics"} if self.topics else {}
        return named | ({self.rerank.column: "rerank"} if self.rerank and self.rerank.column else {})

    def hours(self, pin: Pin) -> tuple[float, float]:
        """Return from when to when a pin holds, in Unix seconds; infinite where the file says nothing."""
        zone = UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)
        ends = (end and (end if end.tzinfo else end.replace(tzinfo=zone)).timestamp() for end in (pin.since, pin.until))
        since, until = ends
        return (-math.inf if since is None else since), (math.inf if until is None else until)

    # === Contradictions ===

    def _contradictions(self) -> Iterator[str]:
        yield from self._of_names()
        yield from self._of_pins()
        yield from self._of_counts()

    def _of_names(self) -> Iterator[str]:
        titles = [rule.title for rule in (*self.pins, *self.floors, *self.quotas)]
        if repeated := [title for title in titles if titles.count(title) > 1]:
            yield f"two rules are {repeated[0]!r}; take one out, or give them names."
        known = [*KINDS, *titles]
        for name in self.relax:
            if name not in known:
                yield f"relax: there is no rule {name!r}. Did you mean {nearest(name, known)!r}?"
            if self.relax.count(name) > 1:
                yield f"relax: {name!r} is there twice."

    def _of_pins(self) -> Iterator[str]:
        for pin in self.pins:
            since, until = self.hours(pin)
            if since >= until:
                yield f"pins: {pin.title} ends before it begins."
            if pin.place > self.places:
                yield f"pins: {pin.title} lies behind the last of the {self.places} places (places: {self.places})."
        for one, other in itertools.combinations(self.pins, 2):
            (since, until), (from_then, to_then) = self.hours(one), self.hours(other)
            if max(since, from_then) >= min(until, to_then):
                continue
            if one.place == other.place:
                yield f"pins: {one.title} and {other.title} want the same place at the same time."
            if one.article == other.article:
                yield f"pins: {one.title} and {other.title} want the same article at the same time."

    def _of_counts(self) -> Iterator[str]:
        for column in dict.fromkeys(floor.column for floor in self.floors):
            total, counted, taken = 0, [], set()
            for floor in (floor for floor in self.floors if floor.column == column):
                if taken.isdisjoint(floor.value):  # an article may count for two that share a value
                    total += at_least(floor.at_least, self.places)
                    counted.append(floor.title)
                    taken.update(floor.value)
            if total > self.places:
                yield f"floors: {' and '.join(counted)} ask for {total} places, and lists have {self.places}."
        for floor, quota in itertools.product(self.floors, self.quotas):
            if floor.column != quota.column:
                continue
            wanted, allowed = at_least(floor.at_least, self.places), at_most(quota.at_most, self.places)
            if quota.value is None:
                allowed *= len(set(floor.value))
            elif not set(floor.value) <= set(quota.value):
                continue
            if wanted > allowed:
                yield f"{floor.title} (floors) and {quota.title} (quotas) cannot both hold in {self.places} places."
        shares = {"explore": self.explore, "topics": self.topics}
        if sum(section.share for section in shares.values() if section) > 1:
            yield "explore and topics: their shares together are more than 100%."


def at_least(amount: int | float, places: int) -> int:
    """Return the fewest places that are at least an amount: a number, or a share of all places, rounded up."""
    return amount if isinstance(amount, int) else math.ceil(amount * places - 1e-9)


def at_most(amount: int | float, places: int) -> int:
    """Return the most places that are at most an amount: a number, or a share of all places, rounded down."""
    return amount if isinstance(amount, int) else math.floor(amount * places + 1e-9)


def _written(amount: int | float) -> str:
    return str(amount) if isinstance(amount, int) else f"{100 * amount:g}%"


def _worded(error: Mapping[str, Any]) -> tuple[str, str | None]:
    """Word pydantic's error: where it is and what was expected; and a remedy."""
    sections = {"pins": Pin, "floors": Floor, "quotas": Quota, "ages": Age}
    sections |= {"explore": Explore, "topics": Topics, "rerank": Rerank}
    *place, last = [str(part + 1) if isinstance(part, int) else part for part in error["loc"]] or ["the file"]
    where = ", ".join(map(str, [*place, last]))
    if error["type"] == "extra_forbidden":
        fields = sections.get(place[0], Policy).model_fields if place else Policy.model_fields
        keys = [field.alias or name for name, field in fields.items()]
        return f"{where}: there is no such key.", f"Did you mean {nearest(last, keys)!r}?"
    if error["type"] == "missing":
        return f"{where}: the key is missing.", None
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    return f"{where}: {said}, found {error['input']!r:.60}.", None
