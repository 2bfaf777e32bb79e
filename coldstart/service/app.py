"""The HTTP service: questions to the loaded run, and changes of its dataset and listens."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from coldstart.errors import InputError, TakenIdError, UnknownIdError
from coldstart.retrieval.query import Recommendation, row_of
from coldstart.retrieval.recommender import Recommender
from coldstart.retrieval.unseen import UnseenTrack, fields_of
from coldstart.runs.extracted import fields_heard, sound_of_extractors
from coldstart.sample import Sample
from coldstart.service import forms
from coldstart.service.about import about_model, track_of
from coldstart.service.bodies import Body, body_or_form, form_of, schema_of
from coldstart.service.changes import (
    Change,
    Decoded,
    NewListens,
    NewTrack,
    StoredSound,
    Withdrawn,
    Writer,
    stores_of,
)
from coldstart.service.engine import Engine, Loaded, watch
from coldstart.service.isolation import SoundLimits
from coldstart.service.limits import Gate, PathAsSent
from coldstart.service.measures import Clock, Measures
from coldstart.service.page import page
from coldstart.service.problems import problem, responses
from coldstart.service.settings import ServiceSettings
from coldstart.service.sound import sound_of
from coldstart.service.uploads import Decoder
from coldstart.shards.reading import Shards

log = logging.getLogger(__name__)

PathId = Annotated[str, BeforeValidator(unquote), PathParameter(min_length=1, max_length=500)]
"""An id in a path, encoded; see `PathAsSent`."""


class Service:
    """What the routes share.

    Attributes:
        settings: of the service.
        engine: the loaded run.
        writer: makes changes.
        scoring: computes queries, some at once; others wait.
        decoder: of uploads.
        measures: for Prometheus.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        """Load the run.

        Raises:
            InputError: it can't be loaded, or a setting is out of range.
        """
        settings.check()
        self.settings = settings
        self.measures = Measures()
        self.engine = Engine(settings, self.measures.loaded)
        self.decoder = Decoder(SoundLimits(minutes=settings.minutes))
        self.writer = Writer(self.engine)
        # More at once would take turns on the cores, and all of them be late.
        self.scoring = ThreadPoolExecutor(os.cpu_count(), "scoring")

    @property
    def current(self) -> Loaded:
        """What answers; a request takes it once."""
        return self.engine.current

    def heard(self, dataset: Shards, path: Path) -> tuple[StoredSound, Sample]:
        """What the dataset's stores keep of a file, and what its extractors hear in it.

        Raises:
            InputError: it has neither, or the file can't be used.
        """
        stores, extractors = stores_of(dataset), sound_of_extractors(dataset)
        if not stores and not extractors:
            raise InputError("this dataset holds no sound; leave `audio` out")
        facts = [*stores.values(), *extractors.values()]
        contents = [Decoded(*each) for each in self.decoder.contents(path, facts)]
        kept, flacs = contents[: len(stores)], contents[len(stores) :]
        heard = {name: each.content for name, each in zip(extractors, flacs, strict=True)}
        return dict(zip(stores, kept, strict=True)), fields_heard(dataset, heard)

    def change(self, change: Change, detail: str) -> forms.Changed:
        """Make a change, and wait until it is in use."""
        self.writer.make(change).result()
        return forms.Changed(version=self.current.version, detail=detail)

    async def answer(
        self, method: Callable[..., list[Recommendation]], asked: object, query: forms.ListQuery
    ) -> Response:
        """A list of a method of the recommender; it is computed when its turn comes."""
        loaded = self.current

        def answer() -> Response:
            return self.listed(loaded, query, method(loaded.recommender, asked, **query.options()))

        return await asyncio.get_running_loop().run_in_executor(self.scoring, answer)

    def listed(
        self, loaded: Loaded, query: forms.ListQuery, rows: list[Recommendation]
    ) -> Response:
        """A list, counted, and written here: FastAPI would check it once more, and take longer."""
        self.measures.answered([row.by for row in rows])
        selection = loaded.recommender.select(query.candidates, query.exclude, query.where)
        tracks = [row.as_json() for row in rows]
        content = forms.List.model_validate(
            {"version": loaded.version, "candidates": len(selection), "tracks": tracks}
        )
        return Response(content.model_dump_json(), media_type="application/json")


def make_app(settings: ServiceSettings) -> FastAPI:
    """The application; the run is loaded at once, so that what is wrong shows here.

    Raises:
        InputError: the run can't be loaded, or a setting is out of range.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        if settings.watch:
            threading.Thread(
                target=watch, args=(service.engine, stop), name="watch", daemon=True
            ).start()
        yield
        stop.set()
        service.writer.close()
        service.scoring.shutdown()

    app = FastAPI(
        title="coldstart",
        version=version("coldstart"),
        summary="Recommends music that nobody has heard yet.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(questions(service))
    app.include_router(changes(service))
    app.include_router(state(service))
    app.include_router(page())
    app.openapi = partial(schema_of, app)  # type: ignore[method-assign]
    _answer_errors(app, service)
    app.add_middleware(Clock, measures=service.measures)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(PathAsSent)
    return app


def questions(service: Service) -> APIRouter:
    """Routes that change nothing."""
    routes = APIRouter(tags=["questions"])

    @routes.get("/tracks", responses=responses())
    def search(
        q: Annotated[str, Query(max_length=200, description="words of title and artist, or an id")],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> forms.Found:
        """Tracks by words of title and artist; the last word may be unfinished."""
        loaded = service.current
        rows = loaded.search.rows(q, limit)
        tracks = [track_of(loaded, int(row), service.settings.play) for row in rows]
        return forms.Found(version=loaded.version, tracks=tracks)

    @routes.get(
        "/tracks/{track_id:path}/similar", response_model=forms.List, responses=responses(404)
    )
    async def similar(track_id: PathId, query: forms.ListParameters) -> Response:
        """Tracks like a track."""
        return await service.answer(Recommender.similar, track_id, query)

    @routes.get(
        "/tracks/{track_id:path}/audio",
        responses={**responses(404, 416), 200: {"content": {"audio/flac": {}}}},
        response_class=Response,
    )
    def audio(track_id: PathId, request: Request) -> Response:
        """A track's sound, as the dataset has it, if the service may play it."""
        loaded = service.current
        if not service.settings.play:
            raise HTTPException(403, "this service doesn't play sound (serve --play)")
        row_of(loaded.recommender.catalogue, track_id)
        return sound_of(loaded.sounds, track_id, request.headers.get("range"))

    @routes.get("/tracks/{track_id:path}", responses=responses(404))
    def track(track_id: PathId) -> forms.TrackDetail:
        """What is known of a track."""
        loaded = service.current
        row = row_of(loaded.recommender.catalogue, track_id)
        return track_of(loaded, row, service.settings.play)

    @routes.get(
        "/users/{user_id:path}/recommendations",
        response_model=forms.List,
        responses=responses(404),
    )
    async def for_user(user_id: PathId, query: forms.ListParameters) -> Response:
        """Tracks for a listener, none that they have played."""
        return await service.answer(Recommender.for_user, user_id, query)

    @routes.post(
        "/recommend",
        response_model=forms.List,
        responses=responses(404, 408, 415),
        openapi_extra=body_or_form(forms.Asked, "query"),
    )
    async def recommend(
        asked: Annotated[Body, Depends(form_of(forms.Asked, "query"))],
    ) -> Response:
        """Tracks like tracks, for somebody who likes tracks, or like a track that isn't here.

        As JSON; or, with a sound file, as a form of the parts `audio` and, if anything else is to
        be said, `query`.
        """
        query = asked.content
        assert isinstance(query, forms.Asked)
        content = query.content is not None or asked.audio is not None
        if sum((bool(query.like), bool(query.liked), content)) != 1:
            raise InputError("ask one thing: `like`, `liked`, or `content` and a part `audio`")
        if query.like:
            return await service.answer(Recommender.similar, query.like, query)
        if query.liked:
            return await service.answer(Recommender.for_liked, query.liked, query)
        return await run_in_threadpool(heard, query, asked)  # decoding takes its own turns

    def heard(query: forms.Asked, asked: Body) -> Response:
        loaded, known = service.current, query.content or forms.TrackContent()
        with asked.file() as path:
            unseen = UnseenTrack(audio=path, **known.model_dump())
            rows = loaded.recommender.for_content(
                unseen, decode=service.decoder.decode, **query.options()
            )
        return service.listed(loaded, query, rows)

    return routes


def changes(service: Service) -> APIRouter:
    """Routes that change the dataset, the listens, or what is loaded."""
    routes = APIRouter(tags=["changes"])

    @routes.post(
        "/tracks",
        status_code=201,
        responses=responses(408, 409, 415),
        openapi_extra=body_or_form(forms.NewTrackForm, "track"),
    )
    def add(
        asked: Annotated[Body, Depends(form_of(forms.NewTrackForm, "track"))],
    ) -> forms.Changed:
        """A new track joins the dataset, as `coldstart add` adds it, and is a candidate at once.

        As JSON; or, with a sound file, as a form of the parts `track` and `audio`.
        """
        new = asked.content
        assert isinstance(new, forms.NewTrackForm)
        recommender = service.current.recommender
        if new.track_id in recommender.catalogue.row and not new.replace:
            raise HTTPException(
                409, f"there is a track {new.track_id!r} already; `replace` takes its place"
            )
        dataset = recommender.run.data.shards
        content = UnseenTrack(**new.content.model_dump())
        with asked.file() as path:
            sound, heard = (None, {}) if path is None else service.heard(dataset, path)
        row = new.model_dump(exclude={"content", "replace"}, exclude_none=True)
        if content.genres is not None:
            row["genres"] = list(content.genres)
        fields = heard | fields_of(dataset, content)
        track = NewTrack(row, fields, sound, new.replace)
        return service.change(track, f"track {new.track_id!r} is in the dataset, and a candidate")

    @routes.delete("/tracks/{track_id:path}", responses=responses(404))
    def remove(track_id: PathId) -> forms.Changed:
        """A track is recommended no more, as after `coldstart remove`."""
        row_of(service.current.recommender.catalogue, track_id)
        return service.change(Withdrawn([track_id]), f"track {track_id!r} is withdrawn")

    @routes.post("/tracks/{track_id:path}/return", responses=responses(404))
    def bring_back(track_id: PathId) -> forms.Changed:
        """A withdrawn track comes back, as after `coldstart remove --undo`."""
        change = Withdrawn([track_id], undo=True)
        return service.change(change, f"track {track_id!r} isn't withdrawn")

    @routes.post("/listens", responses=responses())
    def listens(form: forms.ListensForm) -> forms.Changed:
        """NewListens are folded in, as by `coldstart update`; the same ones count once."""
        rows = [listen.model_dump(exclude_none=True) for listen in form.listens]
        update = service.writer.make(NewListens(rows)).result()
        detail = (
            f"{update.outcome}: {update.listens:,} listens; {update.users_folded:,} listeners and "
            f"{update.tracks_folded:,} tracks have moved"
        )
        return forms.Changed(version=service.current.version, detail=detail)

    @routes.post("/reload", responses=responses())
    def reload() -> forms.Changed:
        """Load the run anew beside the one that answers; it answers once it has been tried."""
        loaded = service.engine.reload()
        return forms.Changed(version=loaded.version, detail=f"loaded in {loaded.seconds:.1f} s")

    return routes


def state(service: Service) -> APIRouter:
    """Routes about the service itself."""
    routes = APIRouter(tags=["state"])

    @routes.get("/health", responses=responses())
    def health() -> forms.Health:
        """It runs."""
        engine = service.engine
        return forms.Health(status="ok", version=engine.current.version, problem=engine.problem)

    @routes.get("/ready", responses=responses())
    def ready() -> forms.Health:
        """It answers: the run is loaded, and has been tried."""
        return health()

    @routes.get("/model", responses=responses())
    def model() -> forms.Model:
        """What answers: which run, which factors, which figures."""
        return about_model(service.current, service.settings.play)

    @routes.get(
        "/metrics",
        responses={**responses(), 200: {"content": {"text/plain": {}}}},
        response_class=Response,
    )
    def metrics() -> Response:
        """For Prometheus."""
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4")

    return routes


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Every error is a problem of one sentence, which names no path of this machine."""

    def told(text: str) -> str:
        run = service.current.recommender.run
        places = {"the run": run.folder, "the dataset": run.data.shards.folder}
        if run.places["factors"]:
            places["the factors"] = Path(run.places["factors"])
        for name, place in places.items():
            text = text.replace(str(place.absolute()), name).replace(str(place), name)
        return text

    @app.exception_handler(InputError)
    async def wrong_input(_: Request, error: InputError) -> Response:
        statuses = {UnknownIdError: 404, TakenIdError: 409}
        return problem(statuses.get(type(error), 422), told(str(error)))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "body"
        return problem(422, f"{place}: {first['msg']}")

    @app.exception_handler(MultiPartException)
    async def malformed(_: Request, error: MultiPartException) -> Response:
        return problem(400, f"the form can't be read: {error.message}")

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error(f"{request.method} {request.url.path} failed", exc_info=error)
        return problem(500, "this is a fault of the service; its log says more")
