"""Errors as application/problem+json: a status, and a sentence that says what to change."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from recommenders_miner.errors import RecommendersMinerError, UnknownNewsError
from recommenders_miner.serving.store import StoreError
from recommenders_miner.serving.wire import ProblemDocument

LOGGER = logging.getLogger("recommenders_miner")
MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1

_SAID = {
    "extra_forbidden": "is no field of this request; leave it out, or correct its name",
    "missing": "is missing",
    "string_pattern_mismatch": "has white space, a control character or bytes that are no UTF-8, unlike ids",
    "string_unicode": "is not valid Unicode: it holds half of a surrogate pair",
    "finite_number": "has to be a finite number",
}
"""By pydantic's type of error, what is plainer than its own message."""

_MOST_SAID = 5
_OF_STATUS = {
    400: "The body cannot be read as JSON: it is nested too deep, or a number has too many digits.",
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take {method}; /docs lists what it takes.",
}


class Problem(Exception):
    """A request that is refused; raised anywhere below an endpoint."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers

    def response(self) -> Response:
        """Return the problem as a response."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        content = json.dumps(document, ensure_ascii=True)  # whatever a client sent can be said in ASCII
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def busy(detail: str) -> Problem:
    """Return a 503 that asks to come again soon."""
    return Problem(503, detail, {"Retry-After": str(RETRY_SECONDS)})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the problems that an endpoint answers with."""
    content = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)}


def add_handlers(app: FastAPI) -> None:
    """Let every error of an application, its own and FastAPI's, be answered as a problem."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return _of_validation(error.errors()).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = _OF_STATUS.get(error.status_code, error.detail).format(method=request.method)
        return Problem(error.status_code, detail, error.headers).response()

    @app.exception_handler(RecommendersMinerError)
    async def _ours(request: Request, error: RecommendersMinerError) -> Response:
        if isinstance(error, StoreError):
            LOGGER.error("%s", error)
            return busy("The store of clicks does not answer; nothing was changed that is not acknowledged.").response()
        return Problem(404 if isinstance(error, UnknownNewsError) else 422, str(error)).response()

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        return Problem(500, "This is an error of the server itself; its log has more.").response()


def _of_validation(errors: Sequence[Any]) -> Problem:
    """Say what pydantic found, the first few of it, each with its place: `events.3.time: …`."""
    if errors[0]["type"] == "json_invalid":
        said = errors[0]["ctx"]["error"]
        return Problem(400, f"The body is not valid JSON: {said}, at character {errors[0]['loc'][-1]}.")
    said = list(dict.fromkeys(f"{_place(error['loc'])}: {_message(error)}" for error in errors))
    more = f" And {len(said) - _MOST_SAID} more." if len(said) > _MOST_SAID else ""
    return Problem(422, "; ".join(said[:_MOST_SAID]) + "." + more)


def _place(loc: Sequence[str | int]) -> str:
    return ".".join(map(str, loc[1:])) or str(loc[0])


def _message(error: Any) -> str:
    said = _SAID.get(error["type"]) or error["msg"]
    return said.removeprefix("Value error, ")
