import pytest

from recommenders_miner.datasets import fetch
from tests.datasets import loopback


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine; waiting for one that fails is over soon."""
    monkeypatch.setattr(fetch, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.5)
    with loopback.running() as server:
        yield server


@pytest.fixture
def hub(server, monkeypatch):
    """The same server in the place of the Hugging Face hub; nobody is logged in."""
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    return server
