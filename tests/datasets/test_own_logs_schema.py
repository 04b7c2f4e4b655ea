"""The YAML file of one's own logs."""

import pytest
import yaml

from recommenders_miner.datasets.own import LogSchema, TimeColumn
from recommenders_miner.errors import DataFormatError

NEWS = {"file": "n.csv", "id": "key", "title": "headline"}
EVENTS = {"file": "e.csv", "user": "who", "time": "when", "news": "what"}


def read(tmp_path, content):
    path = tmp_path / "logs.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return LogSchema.read(path)


def test_columns_are_read_and_files_stand_beside_the_yaml_and_what_is_optional_may_be_left_out(tmp_path):
    published = {"column": "online", "format": "%d.%m.%Y"}
    news = {"category": "c", "subcategory": None, "published": published, "columns": ["x", "x"]}
    events = {"file": ["/x/1.csv", "2.csv"], "time": {"column": "t", "unit": "ms"}, "clicked": "k", "impression": "i"}
    schema = read(tmp_path, {"news": NEWS | news, "events": EVENTS | events})
    assert schema.news.file == [tmp_path / "n.csv"]
    assert (schema.news.category, schema.news.subcategory, schema.news.columns) == ("c", None, ["x"])
    assert schema.news.published == TimeColumn(**published)
    assert [str(path) for path in schema.events.file] == ["/x/1.csv", str(tmp_path / "2.csv")]
    assert schema.events.time == TimeColumn(column="t", unit="ms")
    assert (schema.events.clicked, schema.events.impression) == ("k", "i")
    assert read(tmp_path, {"news": NEWS, "events": EVENTS}).events.time == TimeColumn(column="when")


@pytest.mark.parametrize(
    ("news", "events", "says"),
    [
        ({"titel": "x"}, {}, r"news: titel: there is no such key. Did you mean 'title'\?"),
        (
            {},
            {"time": {"column": "t", "units": "s"}},
            r"time: units: there is no such key. Did you mean 'unit'\?",
        ),
        ({}, {"time": {"unit": "s"}}, "events: time: column: the key is missing"),
        ({"id": 3}, {}, r"news: id: Input should be a valid string, got 3 \(int\)"),
        ({"id": ""}, {}, "news: id: .*, got ''"),
        ({"columns": ["body", "title"]}, {}, "news: columns: 'title' means something else in news.tsv"),
        ({"file": []}, {}, r"news: file: .*, got \[\]"),
        ({"separator": "::"}, {}, "news: separator: .*, got '::'"),
        (
            {},
            {"time": {"column": "t", "unit": "h"}},
            "unit: Input should be 's', 'ms', 'us' or 'ns', got 'h'",
        ),
        ({}, {"time": {"column": "t", "unit": "s", "format": "%Y"}}, "a format or a unit, not both"),
        ({}, {"impression": "i"}, "nothing says which of its rows were clicked on"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, news, events, says):
    with pytest.raises(DataFormatError, match=rf"logs\.yaml: .*{says}"):
        read(tmp_path, {"news": NEWS | news, "events": EVENTS | events})


@pytest.mark.parametrize(
    "content",
    ["", "[", "words", "- 1", "news: {}", "!!python/object/apply:os.system ['echo no']", "news: 1\nevents: 2"],
)
def test_what_is_no_such_file_is_an_error(tmp_path, content):
    with pytest.raises(DataFormatError, match=r"logs\.yaml"):
        read(tmp_path, content)
