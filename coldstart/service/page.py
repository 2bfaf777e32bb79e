"""The listening page: files that ship with the package, and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from coldstart import reporting

FOLDER = Path(__file__).parent / "page_files"
PALETTE = Path(reporting.__file__).parent / "palette.css"
"""Colours and fonts, which a report has, too."""

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def page() -> APIRouter:
    """Routes of the page's files."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: path for path in (*FOLDER.iterdir(), PALETTE) if path.suffix in TYPES}

    @routes.get("/")
    def index() -> FileResponse:
        return _file(files["index.html"])

    @routes.get("/page/{name}")
    def file(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, "the page has no such file")
        return _file(files[name])

    return routes


def _file(path: Path) -> FileResponse:
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})
