"""What requests may hold, and what answers hold: the schema that /openapi.json shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

MOST = 1000
"""Tracks in a list, and ids in a request's lists of what is liked or left out."""

Id = Annotated[str, Field(min_length=1, max_length=500)]
Where = Annotated[
    str,
    Field(
        max_length=1000,
        description="SQL condition over the tracks' columns, such as release_date >= 2026-01-01",
    ),
]


class ListQuery(BaseModel):
    """What every list may be told; as `coldstart recommend`."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=10, ge=1, le=MOST, description="how many tracks")
    candidates: Literal["cold", "warm", "all"] = Field(
        "cold", description="cold: tracks that were not factorised; warm: those that were; all"
    )
    exclude: list[Id] = Field(default=[], max_length=MOST, description="ids of tracks to leave out")
    where: Where | None = None
    per_artist: int | None = Field(default=None, ge=1, description="at most so many of one artist")
    new_share: float | None = Field(
        None, ge=0, le=1, description="share of cold tracks, spread evenly over the list"
    )
    why: bool = Field(
        default=False, description="say what each modality, plays and the artist added"
    )

    def options(self) -> dict[str, Any]:
        """Arguments of the `Recommender`'s methods."""
        names = ("k", "candidates", "exclude", "where", "per_artist", "new_share", "why")
        return {name: getattr(self, name) for name in names}


ListParameters = Annotated[ListQuery, Query()]


class TrackContent(BaseModel):
    """What is known of a track beside its sound."""

    genres: list[Annotated[str, Field(max_length=200)]] | None = Field(default=None, max_length=200)
    attributes: dict[str, dict[str, FiniteFloat]] = Field(
        default={}, description="modality → attribute → value; all of its attributes are needed"
    )
    embeddings: dict[str, list[FiniteFloat]] = Field(default={}, description="modality → vector")
    texts: dict[str, str] = Field(default={}, description="modality → text")


class Asked(ListQuery):
    """A question: one of `like`, `liked`, or content (with or without a sound file)."""

    like: list[Id] = Field(
        default=[], max_length=MOST, description="near these tracks' mean direction"
    )
    liked: list[Id] = Field(
        [], max_length=MOST, description="for somebody unknown who likes these tracks"
    )
    content: TrackContent | None = Field(default=None, description="like a track that isn't here")


class NewTrackForm(BaseModel):
    """A track that joins. Other keys become columns of the tracks' table."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | bool | FiniteFloat | int | None]

    track_id: Id
    title: str = Field(max_length=1000)
    artist: str = Field(max_length=1000)
    artist_id: Id | None = None
    release_date: str | None = Field(default=None, max_length=10, description="YYYY-MM-DD or YYYY")
    content: TrackContent = TrackContent()
    replace: bool = Field(default=False, description="take the place of a track of this id")


class Listen(BaseModel):
    """A row of a log."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    track_id: Id
    plays: int | None = Field(default=None, ge=0, le=1_000_000, description="1 if it isn't said")
    rating: FiniteFloat | None = Field(default=None, description="for factors of ratings")
    timestamp: str | None = Field(
        None, max_length=40, description="such as 2026-11-29T12:00:00Z; then it counts once"
    )


class ListensForm(BaseModel):
    """NewListens since the fit."""

    listens: list[Listen] = Field(min_length=1, max_length=100_000)


class Recommended(BaseModel):
    """A track of a list."""

    rank: int
    track_id: str
    title: str
    artist: str
    plays: int = Field(description="in the listening log")
    similarity: float = Field(description="cosine, or for a listener how much they may like it")
    by: Literal["plays", "content", "both"] = Field(description="what its place is known by")
    why: dict[str, Any] | None = None


class List(BaseModel):
    """An answer."""

    version: str = Field(description="of the model and data that answered")
    candidates: int = Field(description="how many tracks could have been recommended")
    tracks: list[Recommended]


class TrackDetail(BaseModel):
    """A track that can be recommended."""

    track_id: str
    title: str
    artist: str
    plays: int
    by: Literal["plays", "content", "both"]
    can_be_heard: bool = Field(description="whether sound may be played, and there is any of it")
    columns: dict[str, Any] = Field(
        default={}, description="what the tracks' table says of it, too"
    )


class Found(BaseModel):
    """Tracks by words."""

    version: str
    tracks: list[TrackDetail]


class Changed(BaseModel):
    """A change that is on disk, and in use."""

    version: str = Field(description="the first one that answers with it")
    detail: str


class Health(BaseModel):
    """Whether it answers."""

    status: Literal["ok"]
    version: str
    problem: str = Field(default="", description="why the last reload failed; empty if it didn't")


class Model(BaseModel):
    """What answers."""

    version: str
    run: str
    since: str = Field(description="when it began to answer, UTC")
    load_seconds: float
    tracks: int
    known: int = Field(description="of them, factorised")
    search: str = Field(description="how the best tracks are found: exact, or by which index")
    listeners: int
    modalities: list[str] = Field(description="what the model reads")
    hears: bool = Field(description="whether a sound file alone has a place")
    plays_sound: bool
    columns: dict[str, str] = Field(description="of the tracks' table, and their types")
    attributes: dict[str, list[str]] = Field(description="modality → names of its attributes")
    quantiles: list[int] = Field(
        description="plays of tracks at 0 %, 1 % … 100 % of them, most first"
    )
    factors: dict[str, Any] | None
    figures: dict[str, Any] | None = Field(description="results.json of the run's test")
