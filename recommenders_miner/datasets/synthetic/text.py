"""Headlines, abstracts, bodies and named entities of the synthetic benchmark.

The words come from `topics.yaml`. A headline is a template whose slots are filled with phrases of
one subcategory and, now and then, with phrases that all subcategories of its category share. So titles read
as English, their words tell the subcategory, and some tell it less clearly than others. A body, of several sentences
with the same slots, tells it almost always.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

PHRASE_SLOTS = ("who", "act", "topic", "items", "setting")
SHARED_PHRASE_RATE = 0.2  # how often a slot takes a phrase of the category instead of the subcategory's own
TITLE_CASE_RATE = 0.3
MINOR_WORDS = ("a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "of", "on", "or", "the", "to")
SECOND_SENTENCE_RATE = 0.5
BODY_LENGTHS = range(3, 7)  # sentences
ENTITIES_PER_TOPIC = 12
ENTITY_TYPES = {"person": "P", "organisation": "O", "place": "G"}
FIRST_WIKIDATA_NUMBER = 900_000_001  # far beyond the numbers that Wikidata has given out


@dataclass(frozen=True)
class Topic:
    """One subcategory: where it belongs, how common it is, and its words."""

    name: str
    category: str
    share: float
    own: dict[str, list[str]]
    shared: dict[str, list[str]]
    voices: list[str]
    headlines: list[str]
    sentences: list[str]
    entity_kinds: list[str]
    organisations: list[str]


Words = dict[str, Any]
"""What all topics have in common, as `topics.yaml` has it: qualifiers, numbers and the parts of names."""


@dataclass(frozen=True)
class Entity:
    """A made-up person, organisation or place, tied to one topic."""

    name: str
    kind: str
    wikidata_id: str
    topic: int


def load_topics() -> tuple[list[Topic], Words]:
    """Return the topics, category by category, with shares that sum to 1, and what they have in common."""
    words = yaml.safe_load((Path(__file__).parent / "topics.yaml").read_text(encoding="utf-8"))
    topics = []
    for category, entry in words["categories"].items():
        # Subcategories stand from the largest to the smallest; their shares fall like 1 / rank.
        ranks = np.arange(1, len(entry["subcategories"]) + 1)
        shares = entry["share"] / ranks / (1 / ranks).sum()
        for share, (name, own) in zip(shares, entry["subcategories"].items(), strict=True):
            voices = own.get("voices", entry.get("voices"))
            agents = ["any"] if voices else ["any", "people"]
            topics.append(
                Topic(
                    name=name,
                    category=category,
                    share=float(share),
                    own={slot: own[slot] for slot in PHRASE_SLOTS},
                    shared={slot: entry["shared"][slot] for slot in PHRASE_SLOTS},
                    voices=voices or own["who"],
                    headlines=[line for kind in agents for line in words["headlines"][kind]] + entry["headlines"],
                    sentences=[line for kind in agents for line in words["sentences"][kind]],
                    entity_kinds=own.get("entities", entry["entities"]),
                    organisations=entry["organisations"],
                )
            )
    return topics, words


def invent_entities(topics: Sequence[Topic], words: Words, rng: np.random.Generator) -> list[list[Entity]]:
    """Give every topic `ENTITIES_PER_TOPIC` people, organisations or places, no two of one name."""
    taken: set[str] = set()
    entities = []
    for index, topic in enumerate(topics):
        entities.append([])
        while len(entities[index]) < ENTITIES_PER_TOPIC:
            kind = _pick(rng, topic.entity_kinds)
            names = words["names"]
            if kind == "person":
                name = f"{_pick(rng, names['first'])} {_pick(rng, names['last'])}"
            else:
                name = f"{_pick(rng, names['place'])} {_pick(rng, names['place_end'])}"
            if kind == "organisation":
                name = _pick(rng, topic.organisations).format(place=name, brand=_pick(rng, names["brand"]))
            if name not in taken:
                wikidata_id = f"Q{FIRST_WIKIDATA_NUMBER + len(taken)}"
                entities[index].append(Entity(name, kind, wikidata_id, index))
                taken.add(name)
    return entities


class Story(NamedTuple):
    """The texts of an article, and those of its topic's entities that they name."""

    title: str
    abstract: str
    body: str
    entities: list[Entity]


def write_story(topic: Topic, entities: list[Entity], words: Words, rng: np.random.Generator) -> Story:
    """Compose an article; no sentence of its abstract comes again in its body."""
    slots = _Slots(topic, entities, words, rng)
    title = _capitalise(_pick(rng, topic.headlines).format_map(slots))
    if rng.random() < TITLE_CASE_RATE:
        first, *others = title.split(" ")
        title = " ".join([first, *(word if word in MINOR_WORDS else _capitalise(word) for word in others)])
    first = 1 + (rng.random() < SECOND_SENTENCE_RATE)
    templates = rng.permutation(topic.sentences)[: first + _pick(rng, BODY_LENGTHS)]
    sentences = [_capitalise(template.format_map(slots)) for template in templates.tolist()]
    return Story(title, " ".join(sentences[:first]), " ".join(sentences[first:]), slots.entities)


def splice_titles(stories: Sequence[Story], topic: np.ndarray, rng: np.random.Generator) -> list[Story]:
    """Make each title of the first half of its words and the second half of another's, of the same topic (stories,).

    A topic's only article keeps its title.
    """
    spliced = list(stories)
    for of_topic in np.unique(topic):
        rows = rng.permutation(np.flatnonzero(topic == of_topic))
        for row, other in zip(rows.tolist(), np.roll(rows, 1).tolist(), strict=True):
            own, others = stories[row].title.split(" "), stories[other].title.split(" ")
            title = " ".join([*own[: (len(own) + 1) // 2], *others[(len(others) + 1) // 2 :]])
            entities = list(dict.fromkeys([*stories[row].entities, *stories[other].entities]))
            spliced[row] = stories[row]._replace(title=title, entities=entities)
    return spliced


def entities_json(text: str, entities: Sequence[Entity]) -> str:
    """Return the entities named in `text` as a JSON list in MIND's form, `[]` if there are none."""
    return json.dumps(
        [
            {
                "Label": entity.name,
                "Type": ENTITY_TYPES[entity.kind],
                "WikidataId": entity.wikidata_id,
                "Confidence": 1.0,
                "OccurrenceOffsets": [text.index(entity.name)],
                "SurfaceForms": [entity.name],
            }
            for entity in entities
            if entity.name in text
        ]
    )


class _Slots(dict):
    """The slots of one story, each filled when a template first asks for it and then kept.

    A trailing digit asks for another phrase of the same kind: `{items2}` differs from `{items}`. Title, abstract and
    body share one object, so that they speak of the same things.
    """

    def __init__(self, topic: Topic, entities: list[Entity], words: Words, rng: np.random.Generator) -> None:
        super().__init__()
        self.topic, self.pool, self.words, self.rng = topic, entities, words, rng
        self.entities: list[Entity] = []
        self.used: set[str] = set()

    def __missing__(self, slot: str) -> str:
        match kind := slot.rstrip("0123456789"):
            case "agent":
                text = self._agent()
            case "subject":
                text = self[slot.replace("subject", "agent")]
                starts_with_name = any(text.endswith(entity.name) for entity in self.entities)
                qualified = any(text.startswith(f"{word} ") for word in self.words["qualifiers"])
                text = text if starts_with_name or qualified else f"the {text}"
            case "acts":
                text = third_person(self._phrase("act"))
            case "voice":
                text = _pick(self.rng, self.topic.voices)
            case "number":
                text = _pick(self.rng, self.words["numbers"])
            case "place":
                text = self._entity([entity for entity in self.pool if entity.kind == "place"]).name
            case _:
                text = self._phrase(kind)
        self[slot] = text
        return text

    def _phrase(self, slot: str) -> str:
        """Return a phrase that this story has not used yet."""
        while True:
            words = self.topic.shared if self.rng.random() < SHARED_PHRASE_RATE else self.topic.own
            phrase = _pick(self.rng, words[slot])
            if phrase not in self.used:
                self.used.add(phrase)
                return phrase

    def _entity(self, pool: list[Entity]) -> Entity:
        entity = _pick(self.rng, pool)
        if entity not in self.entities:
            self.entities.append(entity)
        return entity

    def _agent(self) -> str:
        who = self._phrase("who")
        form = self.rng.random()
        if form < 0.3:
            return who
        if form < 0.4:
            return f"{_pick(self.rng, self.words['qualifiers'])} {who}"
        entity = self._entity(self.pool)
        if entity.kind != "person":
            return f"{entity.name} {who}"
        return entity.name if form < 0.65 else f"{who} {entity.name}"


def third_person(phrase: str) -> str:
    """Return the third person singular of a verb phrase: "miss the cut" becomes "misses the cut"."""
    verb, _, rest = phrase.partition(" ")
    if verb.endswith("y") and verb[-2] not in "aeiou":
        verb = verb[:-1] + "ies"
    elif verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        verb += "es"
    else:
        verb += "s"
    return f"{verb} {rest}".rstrip()


def _capitalise(text: str) -> str:
    """Put a capital at the beginning and after a question mark."""
    return "? ".join(part[:1].upper() + part[1:] for part in text.split("? "))


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    # Several times faster than rng.choice, which matters for half a million picks.
    return options[int(rng.random() * len(options))]
