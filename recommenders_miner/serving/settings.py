"""How a service is set up, and how its worker processes are told."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from recommenders_miner.errors import RecommendersMinerError

TOKEN_VARIABLE = "RECOMMENDERS_MINER_TOKEN"
_SETTINGS_VARIABLE = "RECOMMENDERS_MINER_SERVE"
_PATHS = ("news", "log", "snapshot")


@dataclass(frozen=True)
class Settings:
    """What a service is made of.

    Attributes:
        exports: folders of exported models.
        news: the news.tsv of the articles to begin with.
        store: URL of the store, as `open_store` takes it.
        shares: the share of users of each export, which may be there several times; they sum to 1.
        policies: files of editors' policies by the names that requests and arms call them by.
        arm_policies: of each share the name of the policy, or None; empty where no share has one.
        log: the folder that answers and events are written to; None for no log.
        snapshot: the folder of encoded articles that processes share; None where each encodes them by itself.
        explore: the share of places for fresh articles, for users of whom nothing is known.
        host: the address to listen at.
        port: the port; 0 for one that is free.
        workers: processes, one a core.
        token: what who reads or writes a person's data has to know; None for no one.
        threads: requests that one process works on at a time.
        waiting: requests that may wait for them; the next ones are refused.
        body_seconds: for how long the body of a request may take to arrive.
    """

    exports: tuple[Path, ...]
    news: Path
    store: str
    shares: tuple[float, ...] = (1.0,)
    policies: Mapping[str, Path] = field(default_factory=dict)
    arm_policies: tuple[str | None, ...] = ()
    log: Path | None = None
    snapshot: Path | None = None
    explore: float = 0.0
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str | None = field(default=None, repr=False)
    threads: int = 2
    waiting: int = 32
    body_seconds: float = 10.0

    def require_token(self) -> None:
        """Refuse to let other machines in without a token: `RecommendersMinerError`."""
        if self.token is None and not _is_loopback(self.host):
            raise RecommendersMinerError(
                f"--host {self.host}: other machines could read and change what is kept of users. Set a token, in the "
                f"environment ({TOKEN_VARIABLE}) or in a file (--token-file), or serve on 127.0.0.1."
            )

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that `from_environment` reads; only the token's own variable has that."""
        values = dataclasses.asdict(self)
        token = values.pop("token")
        return {_SETTINGS_VARIABLE: json.dumps(values, default=str)} | ({TOKEN_VARIABLE: token} if token else {})

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings that `recommenders-miner serve` has left for its processes."""
        if _SETTINGS_VARIABLE not in os.environ:
            raise RecommendersMinerError(
                f"{_SETTINGS_VARIABLE} is not set. Start it with: recommenders-miner serve EXPORT --news news.tsv"
            )
        values = json.loads(os.environ[_SETTINGS_VARIABLE])
        values |= {name: Path(values[name]) for name in _PATHS if values[name] is not None}
        values |= {"exports": tuple(map(Path, values["exports"])), "shares": tuple(values["shares"])}
        values["policies"] = {name: Path(path) for name, path in values["policies"].items()}
        values["arm_policies"] = tuple(values["arm_policies"])
        return cls(**values, token=os.environ.get(TOKEN_VARIABLE) or None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
