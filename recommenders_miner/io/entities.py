"""The Wikidata entities that MIND names in titles."""

from __future__ import annotations

import json

from recommenders_miner.errors import DataFormatError
from recommenders_miner.io.news_table import NewsTable


def title_entities(news: NewsTable) -> list[list[str]]:
    """Returns the Wikidata ids of each title, each once, in the order of the file; N lists, without the padding news.

    Raises:
        DataFormatError: a news' entities are no JSON list of objects with a `WikidataId`.
    """
    return [
        _wikidata_ids(text, news_id)
        for text, news_id in zip(news.title_entities.to_pylist()[1:], news.ids.to_pylist()[1:], strict=True)
    ]


def _wikidata_ids(text: str, news_id: str) -> list[str]:
    if text in ("", "[]"):
        return []
    try:
        entities = json.loads(text)
        names = list(dict.fromkeys(entity["WikidataId"] for entity in entities))
        if not isinstance(entities, list) or not all(isinstance(name, str) and name for name in names):
            raise TypeError("another type of value")
        return names
    except (ValueError, KeyError, TypeError) as error:
        raise DataFormatError(
            f"the title entities of news {news_id}",
            f"expected a JSON list of objects with a WikidataId, got {text[:80]!r} ({error!r}).",
        ) from None
