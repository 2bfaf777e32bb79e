"""A run that is loaded once and answers many queries."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache, partial
from typing import Literal, TypedDict, Unpack

import polars as pl

from coldstart.errors import InputError, one_of
from coldstart.factors.update import current_factors
from coldstart.files import StrPath
from coldstart.model.ensemble import Ensemble
from coldstart.model.predictions import Predictions
from coldstart.retrieval import query
from coldstart.retrieval.catalogue import Catalogue, catalogue_of, must_predict_factors
from coldstart.retrieval.everybody import blocks
from coldstart.retrieval.hearing import Decode, hear
from coldstart.retrieval.index import TrackIndex
from coldstart.retrieval.index_file import current_index, has_index
from coldstart.retrieval.listeners import TrackListener, track_listeners
from coldstart.retrieval.picks import Mix
from coldstart.retrieval.query import Query, Recommendations, Vector, answer
from coldstart.retrieval.selection import Candidates, ListPlan, Selection, select
from coldstart.retrieval.taste import liked
from coldstart.retrieval.unseen import UnseenTrack
from coldstart.retrieval.why import explain_tracks
from coldstart.runs.ensemble import run_ensemble, settings_of_run
from coldstart.runs.listeners import space_of
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

log = logging.getLogger(__name__)

Placement = Literal["ensemble", "either"]
"""Where a track lies that was not factorised; see `Recommender`."""

PLACEMENTS = ("ensemble", "either")
"""The values of `Placement`."""

SearchMethod = Literal["exact", "index"]
"""How the best tracks are found; see `Recommender`."""

SEARCH_METHODS = ("exact", "index")
"""The values of `SearchMethod`."""

EXACT_UP_TO = 1_000_000
"""With more tracks an exact search takes longer than some 50 ms, and a run's index is used."""

SELECTIONS = 4
"""So many choices of candidates are kept ready; each may hold a copy of the tracks' places."""


class ListOptions(TypedDict, total=False):
    """What every method of `Recommender` may be told.

    Attributes:
        k: how many tracks; 10 by default.
        candidates: `cold` (the default): tracks that the factorisation hasn't seen; `warm`: those
            it has; `all`; or ids of tracks.
        exclude: ids of tracks that may not be recommended.
        where: an SQL condition over the columns of the tracks' table, such as
            `release_date >= '2026-01-01' and country = 'AT'`.
        per_artist: at most so many tracks of one artist.
        new_share: share of cold tracks, spread evenly over the list.
    """

    k: int
    candidates: Candidates | Collection[str]
    exclude: Collection[str]
    where: str | None
    per_artist: int | None
    new_share: float | None


class Recommender:
    """The one engine behind the verb, batches, and services: loads a run, and answers.

    What is the same for all queries (predictions, places, ids, lengths, who has played what) is
    made once, when it is first needed. A query changes nothing, so threads may share it.

    Every method takes the same `ListOptions`; with `why`, it says what each modality of a cold
    track, and what plays, added to its score.

    Attributes:
        run: folder, model and data.
        catalogue: all tracks with a place, and the listeners.
        ensemble: how content and plays are joined; None: places are those of content alone.
        index: by which the best tracks are searched; None: exactly.
    """

    def __init__(
        self,
        run: StrPath,
        *,
        shards: str | None = None,
        factors: str | None = None,
        placement: Placement | None = None,
        search: SearchMethod | None = None,
    ) -> None:
        """Load a run.

        Args:
            run: folder of a fitted run.
            shards: other shards than the run's, to recommend from.
            factors: other factors than the run's.
            placement: where a track lies that was not factorised: `ensemble`: where its content and
                its plays put it; `either`: where its content puts it, whatever it was played. By
                default an ensemble, unless the run has no factors, or its configuration says
                `ensemble: null`.
            search: how the best tracks for one query are found: `exact`: all are compared; `index`:
                by the run's index (`coldstart index`), which misses some. By default exactly, up to
                a million tracks, and beyond by the index, if there is one. `for_users` is exact.

        Raises:
            InputError: it is no run, its data is gone, its model doesn't predict factors, they lack
                what an ensemble needs, or its index is of another model.
        """
        if placement is not None:
            one_of("placement", placement, PLACEMENTS)
        if search is not None:
            one_of("search", search, SEARCH_METHODS)
        self.run = open_run(run, shards, factors)
        must_predict_factors(self.run.model)
        place = self.run.places["factors"]
        current = None
        if place is not None:
            current = space_of(self.run, current_factors(place))
        self.predictions: Predictions = predictions_of(self.run)
        self.ensemble: Ensemble | None = self._joined(placement)
        self.catalogue: Catalogue = catalogue_of(
            self.run.model, self.run.data, self.predictions, current, self.ensemble
        )
        self.index: TrackIndex | None = self._index(search)
        self._explain = partial(explain_tracks, self.run, shards, factors)
        self._select = lru_cache(SELECTIONS)(partial(select, self.catalogue))

    def _joined(self, placement: Placement | None) -> Ensemble | None:
        """How content and plays are joined."""
        factors = self.run.places["factors"]
        if placement == "either" or (placement is None and factors is None):
            return None
        if placement is None and settings_of_run(self.run.folder) is None:
            return None
        try:
            return run_ensemble(self.run).ensemble
        except InputError as error:
            if placement is not None:
                raise
            log.warning(f"no ensemble: {error}; new tracks have the place of their content alone")
            return None

    def _index(self, search: SearchMethod | None) -> TrackIndex | None:
        """The run's index, if it is to be used."""
        large = search is None and len(self.catalogue) > EXACT_UP_TO
        if large and not has_index(self.run.folder):
            log.warning(
                f"{len(self.catalogue):,} tracks are compared for each query; an index is faster: "
                f"coldstart index --run {self.run.folder}"
            )
            return None
        return current_index(self.run, self.catalogue) if large or search == "index" else None

    def similar(
        self,
        like: str | Sequence[str],
        *,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks like a track; or like several, by the mean of their directions.

        Raises:
            InputError: an unknown track, or choices that leave nothing.
        """
        tracks = [like] if isinstance(like, str) else list(dict.fromkeys(like))
        if not tracks:
            raise InputError("name at least one track")
        plan = self.plan(**options)
        return self._answer(query.like(self.catalogue, tracks), plan, why)

    def for_user(
        self,
        user: str,
        *,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks for a listener, none that they have played.

        Raises:
            InputError: an unknown listener, or one without taste, or choices that leave nothing.
        """
        plan = self.plan(**options)
        return self._answer(query.listener(self.catalogue, user), plan, why)

    def for_liked(
        self,
        tracks: str | Sequence[str],
        *,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks for somebody who isn't in the log, by what they like.

        Raises:
            InputError: an unknown track, no factors, or choices that leave nothing.
        """
        ids = [tracks] if isinstance(tracks, str) else tracks
        plan = self.plan(**options)
        return self._answer(liked(self.catalogue, ids), plan, why)

    def for_audio(
        self,
        path: StrPath,
        *,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks like a sound file, which need not be in any dataset.

        Raises:
            InputError: the model hears nothing, the file can't be used, or choices leave nothing.
        """
        return self.for_content(UnseenTrack(audio=path), why=why, **options)

    def for_content(
        self,
        content: UnseenTrack,
        *,
        decode: Decode | None = None,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks like one that is in no dataset, by its sound, attributes, genres and the like.

        Args:
            content: what is known of it.
            decode: reads its sound; by default as `hear`.
            why: as everywhere.
            options: see `ListOptions`.

        Raises:
            InputError: the model reads nothing of it, it can't be used, or choices leave nothing.
        """
        plan = self.plan(**options)
        vector = hear(self.run, content, decode)
        return self._answer(query.place(self.catalogue, vector), plan, why)

    def near(
        self,
        vector: Vector,
        *,
        why: bool = False,
        **options: Unpack[ListOptions],
    ) -> Recommendations:
        """Tracks near any vector [K] of the space.

        Raises:
            InputError: it is no such vector, or choices leave nothing.
        """
        plan = self.plan(**options)
        return self._answer(query.place(self.catalogue, vector), plan, why)

    def listeners(
        self,
        track: str,
        *,
        k: int = 10,
        candidates: Candidates | Collection[str] = "cold",
        exclude: Collection[str] = (),
        where: str | None = None,
    ) -> list[TrackListener]:
        """Whom a track suits: the listeners in whose list of the candidates it stands highest.

        Raises:
            InputError: an unknown track, no factors, or choices that leave nothing.
        """
        among = self.select(candidates, exclude, where)
        return track_listeners(self.catalogue, track, among, k)

    def for_users(
        self,
        users: Sequence[str] | None = None,
        *,
        fallback: bool = True,
        **options: Unpack[ListOptions],
    ) -> Iterator[pl.DataFrame]:
        """Lists for many listeners, in blocks whose memory is flat.

        Args:
            users: ids; all listeners if not given.
            fallback: give a listener without taste what people like on the whole; else nothing.
            options: see `ListOptions`.

        Yields:
            Tables of user_id, rank (1 is best), track_id, score, by (`plays`, `content` or `both`:
            what the track's place is known by) and taste (`own` or `average`). Listeners with no
            candidate left have no row.

        Raises:
            InputError: an unknown listener, or choices that leave nothing.
        """
        selection, k, mix = self.plan(**options)
        yield from blocks(self.catalogue, users, selection, k, mix, fallback)

    def select(
        self,
        candidates: Candidates | Collection[str] = "cold",
        exclude: Collection[str] = (),
        where: str | None = None,
    ) -> Selection:
        """The candidates of these choices; the last few are kept ready.

        Raises:
            InputError: nothing is left, an unknown track, or a condition that can't be used.
        """
        named = candidates if isinstance(candidates, str) else frozenset(candidates)
        return self._select(named, frozenset(exclude), where)

    def plan(
        self,
        *,
        k: int = 10,
        candidates: Candidates | Collection[str] = "cold",
        exclude: Collection[str] = (),
        where: str | None = None,
        per_artist: int | None = None,
        new_share: float | None = None,
    ) -> ListPlan:
        """The choices of a query, ready for it; errors are those of `select`."""
        return ListPlan(self.select(candidates, exclude, where), k, Mix(per_artist, new_share))

    def _answer(self, asked: Query, plan: ListPlan, why: bool) -> Recommendations:
        explain = self._explain if why else None
        among = plan.selection if self.index is None else self.index.shortlist(asked, plan)
        return answer(self.catalogue, asked, among, plan.k, plan.mix, explain)
