"""No folder of a saved model makes `load_model` raise anything but the package's own errors, or run what it holds.

The manifest is made anew for each changed folder, as whoever means harm would do. Numbers in the network's config are
only made smaller: Keras makes layers as large as a config says, before it looks at their weights.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.manifest import MANIFEST, write_manifest
from recommenders_miner.models import load_model
from recommenders_miner.models.saving import NETWORK
from tests.fuzz.nearly_right import nearly_right
from tests.fuzz.try_for import UNHURRIED, try_for
from tests.models.toy import fresh_toy_model

SLOW_SECONDS = 60
STRANGER = "Stranger>run"
SMALL = st.sampled_from(
    [None, True, -1, 0, 1, 2.5, "", "relu", "Dense", "keras.layers", "os", [], {}, [[]], "N" * 300, STRANGER]
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "nrms"
    fresh_toy_model("nrms").save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(keras.saving.get_custom_objects(), STRANGER, run_strange_code)
        yield folder


def run_strange_code(*_, **__):
    # pytest's own, which no `except Exception` on the way takes for a damaged file
    pytest.fail("A saved model ran what someone else registered in the process.")


@st.composite
def nearly_right_json(draw, content):
    """Draws a JSON document with some of its parts replaced or left out."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 4))):
        part = content
        while True:
            inner = [key for key, value in _entries(part) if isinstance(value, dict | list) and value]
            if not inner or draw(st.integers(0, 3)) == 0:
                break
            part = part[draw(st.sampled_from(inner))]
        keys = [key for key, _ in _entries(part)]
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            part[key] = draw(SMALL)
        else:
            del part[key]
    return json.dumps(content).encode()


def _entries(part):
    return list(part.items()) if isinstance(part, dict) else list(enumerate(part))


@st.composite
def changed_files(draw, saved):
    """Draws a file of a saved model and another content for it; a member of the network's archive counts as a file."""
    with zipfile.ZipFile(saved / NETWORK) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    files = {path.name: path.read_bytes() for path in saved.iterdir() if path.name not in (NETWORK, MANIFEST)}
    name = draw(st.sampled_from([*files, *members]))
    content = {**files, **members}[name]
    if name.endswith(".json") and draw(st.integers(0, 3)) > 0:
        return name, draw(nearly_right_json(json.loads(content)))
    if name == "config.json":  # any change of its text may make a number longer
        return name, content[: draw(st.integers(0, len(content)))]
    return name, draw(nearly_right((content,)))


def load_changed(saved, name, content):
    with tempfile.TemporaryDirectory() as workplace:
        folder = Path(workplace) / "copy"
        shutil.copytree(saved, folder)
        if (folder / name).exists():
            (folder / name).write_bytes(content)
        else:
            with zipfile.ZipFile(saved / NETWORK) as archive:
                members = {other: archive.read(other) for other in archive.namelist()}
            with zipfile.ZipFile(folder / NETWORK, "w") as archive:
                for other, old in members.items():
                    archive.writestr(other, content if other == name else old)
        (folder / MANIFEST).unlink()
        write_manifest(folder)
        with contextlib.suppress(RecommendersMinerError):
            load_model(folder)


@settings(max_examples=8, **UNHURRIED)
@given(data=st.data())
def test_changed_folders(saved, data):
    load_changed(saved, *data.draw(changed_files(saved)))


@pytest.mark.slow
def test_many_changed_folders(saved):
    tried = try_for(SLOW_SECONDS, changed_files(saved), lambda changed: load_changed(saved, *changed))
    print(f"saved models: {tried:,} inputs")
