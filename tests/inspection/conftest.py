"""Small data sets in MIND's form, line by line."""

from __future__ import annotations

ENTITY = '[{"Label": "Curling", "WikidataId": "Q136851", "OccurrenceOffsets": [0], "SurfaceForms": ["Curling"]}]'


def news(news_id, category="sports", subcategory="curling", title="Stones on ice", abstract="", entities="[]"):
    return "\t".join([news_id, category, subcategory, title, abstract, "https://example.org", entities, "[]"])


def behavior(number=1, shown="N1-1 N2-0", history="N1", user="U1", time="11/9/2019 8:00:00 AM"):
    return f"{number}\t{user}\t{time}\t{history}\t{shown}"


def write(folder, news_lines=None, behavior_lines=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines, default in (
        ("news.tsv", news_lines, [news("N1"), news("N2", "travel", "trains"), news("N3", title="One two three four")]),
        ("behaviors.tsv", behavior_lines, [behavior()]),
    ):
        (folder / name).write_text("".join(f"{line}\n" for line in (default if lines is None else lines)))
    return folder
