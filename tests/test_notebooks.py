"""The notebooks as they are committed; `make notebooks` is what runs them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from examples.run import METADATA, PRESET_VARIABLE
from recommenders_miner.experiments.runs import TABLE_2
from recommenders_miner.hparams import prepare_hparams

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))
[OWN_LOGS] = [path for path in NOTEBOOKS if path.stem == "own_logs"]
OF_MODELS = [path for path in NOTEBOOKS if path.stem not in ("own_logs", "serving")]
OWN_CELLS = {"system", "imports", "training", "table", "about-particular", "particular"}
"""The cells that differ from model to model; the others are the same in all."""

# A path from the root of a disk; `</td>` and `news/N1` are none.
ABSOLUTE_PATH = re.compile(r"(?<![\w.<:/*}-])/(?:[\w.-]+/)+|\b[A-Z]:\\\\")


def cells(path):
    return {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def shown(cell, kind):
    """What a cell's outputs hold of a MIME type, joined."""
    return "".join("".join(output.get("data", {}).get(kind, "")) for output in cell["outputs"])


class Table(HTMLParser):
    """The rows of an HTML table."""

    def __init__(self, html):
        super().__init__()
        self.rows = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def number_of_articles(cell):
    """How many articles the table of a cell shows, with ids and titles."""
    header, _, *rows = Table(shown(cell, "text/html")).rows
    assert header[1:4] == ["category", "subcategory", "title"]
    assert all(re.fullmatch(r"N\d+", row[0]) and " " in row[3] for row in rows)
    return len(rows)


def test_every_model_of_the_papers_table_has_its_notebook():
    models = {prepare_hparams(name).model_type.replace("-", "_") for name in TABLE_2}
    assert {path.stem for path in OF_MODELS} == models


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_was_run_from_start_to_end_and_holds_no_error_and_nothing_of_the_machine(path):
    found = list(cells(path).values())
    assert json.loads(path.read_text(encoding="utf-8"))["metadata"] == METADATA
    assert all(cell["metadata"] == {} for cell in found)
    code = [cell for cell in found if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    texts = [cell["source"] for cell in found] + [output.get("text", "") for output in outputs]
    for output in outputs:
        texts += [text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
    for text in texts:
        assert not ABSOLUTE_PATH.search("".join(text)), text


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: path.stem)
def test_the_notebook_of_a_model_shows_a_curve_the_table_and_titles(path):
    found, first = cells(path), cells(OF_MODELS[0])
    assert list(found) == list(first)
    for name in found.keys() - OWN_CELLS:
        assert found[name]["source"] == first[name]["source"], name
    data = "".join(found["data"]["source"])
    assert re.search(r"write_\w+_benchmark\(data, preset\)", data)
    assert PRESET_VARIABLE in data
    assert shown(found["curve"], "image/png")
    first_column = [line.split("|")[1].strip() for line in shown(found["table"], "text/markdown").splitlines()[:7]]
    assert first_column[2:5] == [path.stem.replace("_", "-"), "*random*", "*popularity*"]
    assert "*history-oracle*" in first_column[5:]
    assert 8 <= number_of_articles(found["reader"]) <= 12
    assert number_of_articles(found["recommendation"]) == 5
    assert found["particular"]["outputs"]


def test_the_notebook_of_ones_own_logs_goes_from_clicks_to_titles():
    found = cells(OWN_LOGS)
    assert Table(shown(found["data"], "text/html")).rows[0][1:] == ["clicked_at", "reader", "article"]
    assert number_of_articles(found["recommendation"]) == 5
    rows = Table(shown(found["draws"], "text/html")).rows
    [auc] = [[float(value) for value in row[1:]] for row in rows if row[0] == "popularity"]
    assert auc[0] < 50 < auc[1] < auc[2]  # what the text says of the three choices
