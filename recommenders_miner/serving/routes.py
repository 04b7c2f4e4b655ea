"""The addresses of the server, and who may use them. What they answer is `Service`'s."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from recommenders_miner.serving import poprox, wire
from recommenders_miner.serving.metrics import CONTENT_TYPE
from recommenders_miner.serving.problems import Problem, busy, documented
from recommenders_miner.serving.service import Service
from recommenders_miner.serving.settings import TOKEN_VARIABLE

PAGE = Path(__file__).with_name("page.html")

_Credentials = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="Where the server has a token.")),
]
_UserId = Annotated[wire.Id, InPath(examples=["U13740"])]
_ArticleId = Annotated[wire.Id, InPath(examples=["N55189"])]
_OF_ID = (401, 404, 422, 503)  # 404 where an id holds a line end, which no address does
_OF_BODY = (400, 401, 408, 413, 415, 422, 503)


class Door:
    """Lets in who knows the token; everyone where there is none.

    Attributes:
        guarded: what makes an endpoint one for those who know it.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        self.guarded: dict[str, Any] = {} if token is None else {"dependencies": [Depends(self.require_token)]}

    async def knows_token(self, credentials: _Credentials) -> bool:
        """Whether the right token was sent, or none is needed."""
        sent = "" if credentials is None else credentials.credentials
        return self._token is None or hmac.compare_digest(sent.encode("latin-1", "replace"), self._token)

    async def require_token(self, credentials: _Credentials) -> None:
        """Raise a `Problem`, 401, where a token is needed and was not sent."""
        self.require(await self.knows_token(credentials))

    @staticmethod
    def require(knows_token: bool) -> None:
        """Raise a `Problem`, 401, for who does not know the token."""
        if not knows_token:
            raise Problem(
                401,
                "Send the header Authorization: Bearer TOKEN, with the token that the server was started with "
                f"({TOKEN_VARIABLE} or --token-file).",
                {"WWW-Authenticate": "Bearer"},
            )


def operation(service: Service) -> APIRouter:
    """Return what tells of the server itself. It takes no thread of those that answer, and so answers under load."""
    router, alone = APIRouter(tags=["operation"]), CapacityLimiter(1)

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        if not PAGE.is_file():
            raise Problem(404, "The page is not installed; /docs lists the addresses.")
        return FileResponse(PAGE, media_type="text/html")

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process is up."""
        return {"status": "up"}

    @router.get("/readyz", responses=documented(503))
    async def readyz() -> dict[str, str]:
        """Say whether models and articles are loaded, and the store answers."""
        if service.trouble:
            raise busy(service.trouble)
        return {"status": "ready"}

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return figures for Prometheus."""
        return Response(await run_sync(service.metrics.document, limiter=alone), media_type=CONTENT_TYPE)

    return router


def recommendations(service: Service, door: Door) -> APIRouter:
    """Return what models answer. Who names a user, whose clicks are then read, has to know the token."""
    router = APIRouter(prefix="/v1", tags=["recommendations"])
    of_someone: dict[str, Any] = {"openapi_extra": {"security": [{}]}}  # beside the token: it may be left out

    @router.get("/models", responses=documented(503))
    def models() -> wire.ServedModels:
        """List the models."""
        return service.models()

    @router.post("/recommend", response_model_exclude_none=True, responses=documented(*_OF_BODY), **of_someone)
    def recommend(body: wire.RecommendRequest, knows_token: bool = Depends(door.knows_token)) -> wire.Recommendations:
        """Recommend articles to a user or for a history.

        A user is always answered by the same model, as long as the shares of models stay. Who has no known clicks gets
        what is popular now.
        """
        door.require(knows_token or body.user is None)
        return service.recommend(body)

    @router.post("/explain", responses=documented(404, *_OF_BODY), **of_someone)
    def explain(body: wire.ExplainRequest, knows_token: bool = Depends(door.knows_token)) -> wire.Explanation:
        """Explain the scores of articles: by interests, and by what each click does."""
        door.require(knows_token or body.user is None)
        return service.explain(body)

    @router.post("/map", responses=documented(*_OF_BODY), **of_someone)
    def map_of(body: wire.MapRequest, knows_token: bool = Depends(door.knows_token)) -> wire.Map:
        """Place articles and interests in the plane."""
        door.require(knows_token or body.user is None)
        return service.map(body)

    return router


def of_poprox(service: Service, door: Door) -> APIRouter:
    """Return what POPROX's platform asks of a recommender, at /v1/poprox in the place of the platform's own root."""
    router = APIRouter(prefix="/v1/poprox", tags=["poprox"])

    @router.post("", responses=documented(*_OF_BODY), **door.guarded)
    def answer(
        body: poprox.Request,
        pipeline: Annotated[str | None, Query(max_length=200, description="The name of a policy.")] = None,
    ) -> dict[str, Any]:
        """Answer a request of POPROX's protocol 5.0 or 6.0."""
        return service.poprox(body, pipeline)

    @router.get("/warmup", responses=documented(401, 503), **door.guarded)
    def warmup(response: Response) -> list[str]:
        """Say which pipelines there are: the policies."""
        response.headers["poprox-protocol-version"] = poprox.V5
        return [policy.name for policy in service.models().policies]

    return router


def data(service: Service, door: Door) -> APIRouter:
    """Return what writes, or reads what is kept of a person, for which one has to know the token; and the search."""
    router = APIRouter(prefix="/v1")

    @router.post("/events", tags=["events"], responses=documented(*_OF_BODY), **door.guarded)
    def events(body: wire.EventsRequest) -> wire.Recorded:
        """Record clicks and showings, all or none. Who gets no answer sends the same again: an id counts once."""
        return service.record(body.events)

    @router.get(
        "/users/{user:path}",
        response_model_exclude_none=True,
        tags=["users"],
        responses=documented(*_OF_ID),
        **door.guarded,
    )
    def user(user: _UserId) -> wire.UserClicks:
        """Return all that is kept of a user: the newest clicks, and where a policy asks, what was shown in vain."""
        return service.user(user)

    @router.delete("/users/{user:path}", tags=["users"], responses=documented(*_OF_ID), **door.guarded)
    def forget(user: _UserId) -> wire.Forgotten:
        """Remove all that is kept of a user. The log of what was served is not changed."""
        return service.forget(user)

    @router.get("/articles", tags=["articles"], responses=documented(422, 503))
    def articles(
        q: Annotated[str, Query(max_length=200, description="Words that titles hold, all of them.")] = "",
        category: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> wire.ListedArticles:
        """Search the articles by title and category, the newest first."""
        return service.articles(q, category, limit)

    @router.put("/articles/{article:path}", tags=["articles"], responses=documented(404, *_OF_BODY), **door.guarded)
    def put_article(article: _ArticleId, body: wire.ArticleRow) -> wire.Changed:
        """Add an article, or replace it; within a second it is recommended by all processes."""
        return service.put_article(article, body)

    @router.delete("/articles/{article:path}", tags=["articles"], responses=documented(*_OF_ID), **door.guarded)
    def remove_article(article: _ArticleId) -> wire.Changed:
        """Remove an article; one that is not there is removed as well."""
        return service.put_article(article, None)

    return router
