"""What a client sees of an error: problem+json (RFC 9457), with the command line's words."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class ProblemDetail(BaseModel):
    """An error."""

    type: str = Field(
        default="about:blank", description="always about:blank: `status` says the kind"
    )
    title: str = Field(description="the status in words")
    status: int = Field(description="as in the response's first line")
    detail: str = Field(description="what was wrong, where, and what to do")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an error."""
    content = ProblemDetail(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(content.model_dump(), status, dict(headers or {}), MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses, and of those that any request may get."""
    common = (400, 401, 403, 413, 422, 429, 500, 503)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}}
    return {
        status: {"content": content, "description": HTTPStatus(status).phrase}
        for status in sorted({*common, *statuses})
    }
