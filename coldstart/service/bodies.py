"""Bodies of requests: JSON, or a form of JSON and a sound file; and what OpenAPI says of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from coldstart.errors import InputError, ItemError
from coldstart.service.forms import Asked, NewTrackForm
from coldstart.service.problems import ProblemDetail

LARGEST_PART = 1 << 20
"""Bytes of JSON in a form."""


class Body:
    """A body, perhaps with a sound file."""

    def __init__(self, content: BaseModel, audio: UploadFile | None = None) -> None:
        self.content, self.audio = content, audio

    @contextmanager
    def file(self) -> Iterator[Path | None]:
        """The sound as a file, without a name from outside; None without any."""
        if self.audio is None:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
            path = Path(folder) / "sound"
            with path.open("wb") as file:
                shutil.copyfileobj(self.audio.file, file)
            try:
                yield path
            except InputError as error:
                raise InputError(str(error).replace(str(path), "the sound file")) from error
            except ItemError as error:
                raise InputError(f"the sound file: {error}") from error


def form_of(kind: type[BaseModel], part: str) -> Any:
    """A dependency that reads JSON, or a form of a part of JSON and a part `audio`."""

    async def read(request: Request) -> AsyncIterator[Body]:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            async with request.form(max_files=1, max_fields=1, max_part_size=LARGEST_PART) as parts:
                if others := sorted(set(parts) - {part, "audio"}):
                    raise InputError(
                        f"the form has a part {others[0]!r}; it may have {part}, audio"
                    )
                text, audio = parts.get(part, "{}"), parts.get("audio")
                if not isinstance(text, str):
                    text = (await text.read(LARGEST_PART)).decode(errors="replace")
                if not isinstance(audio, UploadFile):
                    raise InputError("the form lacks a file as its part `audio`")
                yield Body(_validated(kind, text), audio)
        elif media_type in ("application/json", ""):
            yield Body(_validated(kind, await request.body()))
        else:
            raise HTTPException(415, "send application/json or multipart/form-data")

    return read


def _validated(kind: type[BaseModel], text: str | bytes) -> BaseModel:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def body_or_form(kind: type[BaseModel], part: str) -> dict[str, Any]:
    """What OpenAPI says of a body that `form_of` reads."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    form = {
        "type": "object",
        "required": ["audio"],
        "properties": {part: schema, "audio": {"type": "string", "format": "binary"}},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "multipart/form-data": {"schema": form},
            },
        }
    }


def schema_of(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's description of all routes, with the schemas that `body_or_form` refers to."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        schemas = schema["components"]["schemas"]
        for kind in (Asked, NewTrackForm, ProblemDetail):
            content = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= content.pop("$defs", {}) | {kind.__name__: content}
        app.openapi_schema = schema
    return app.openapi_schema
