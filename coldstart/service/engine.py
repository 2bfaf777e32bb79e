"""The loaded run, and how another takes its place without a gap."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coldstart.errors import InputError
from coldstart.files import fingerprint, is_remote
from coldstart.model.checkpoint import best_checkpoint, weights_id
from coldstart.retrieval.index_file import RECORD, index_folder
from coldstart.retrieval.recommender import Recommender
from coldstart.retrieval.search import WordSearch
from coldstart.runs.ensemble import FILE
from coldstart.runs.places import data_places
from coldstart.service.settings import ServiceSettings
from coldstart.service.sound import Sounds

log = logging.getLogger(__name__)

QUERIES = 3
"""Tracks, and listeners, that a run is tried with before it answers."""


class Loaded(NamedTuple):
    """A run that answers.

    Attributes:
        recommender: the run.
        search: by words.
        sounds: of its dataset.
        version: of all that it answers from; another as soon as any of that has changed.
        since: when it began to answer, in seconds since 1970.
        seconds: how long loading took.
    """

    recommender: Recommender
    search: WordSearch
    sounds: Sounds
    version: str
    since: float
    seconds: float


class Engine:
    """Holds the loaded run; whoever has taken it from `current` can use it to the end.

    Attributes:
        settings: of the service.
        current: what answers.
        problem: why the last try to load didn't succeed; empty if it did.
    """

    def __init__(self, settings: ServiceSettings, told: Callable[[Loaded | None], None]) -> None:
        """Load the run.

        Args:
            settings: of the service.
            told: is given each run that begins to answer, and None where one couldn't.

        Raises:
            InputError: it can't be loaded, or gives no answers.
        """
        self.settings, self._told = settings, told
        self.problem = ""
        self._turn = threading.Lock()
        self._seen = self.state()
        self.current = self._loaded()
        told(self.current)

    def reload(self) -> Loaded:
        """Load the run anew beside the one that answers, try it, and let it answer.

        Raises:
            InputError: it can't be loaded, or gives no answers; the old one goes on.
        """
        with self._turn:
            self._seen = self.state()
            try:
                self.current = self._loaded()
            except InputError as error:
                self.problem = str(error)
                self._told(None)
                log.warning(f"not reloaded, the one before goes on: {error}")
                raise
            self.problem = ""
            self._told(self.current)
            log.info(f"reloaded in {self.current.seconds:.1f} s: version {self.current.version}")
            return self.current

    def has_changed(self) -> bool:
        """Whether files that the run is loaded from have changed since it was."""
        return self.state() != self._seen

    def _loaded(self) -> Loaded:
        start = time.monotonic()
        settings = self.settings
        recommender = Recommender(
            settings.run,
            shards=settings.shards,
            factors=settings.factors,
            placement=settings.placement,
            search=settings.search,
        )
        search = WordSearch(recommender.catalogue)
        _try(recommender)
        version = fingerprint(weights_id(recommender.run.model), self._seen)[:12]
        sounds = Sounds(recommender.run.data.shards)
        return Loaded(recommender, search, sounds, version, time.time(), time.monotonic() - start)

    def state(self) -> list[tuple[str, int, int]]:
        """Size and time of each file that decides what is answered."""
        return [
            (str(path), stat.st_size, stat.st_mtime_ns)
            for path in _files(self.settings)
            if path.is_file()
            for stat in [path.stat()]
        ]


def _files(settings: ServiceSettings) -> Iterator[Path]:
    run = Path(settings.run)
    yield run / "config.yaml"
    yield run / FILE
    yield index_folder(run) / RECORD
    try:
        yield best_checkpoint(run)
        places = data_places(run)
    except InputError:  # while somebody replaces the run
        return
    shards = settings.shards or places["shards"]
    if shards is not None and not is_remote(shards):
        yield Path(shards) / "dataset.json"
    if factors := settings.factors or places["factors"]:
        yield Path(factors) / "factors.json"
        yield from sorted(Path(factors).glob("updates/*/updates.json"))


def _try(recommender: Recommender) -> None:
    """Ask for a few tracks and listeners what real queries ask; it also makes all that is kept.

    Raises:
        InputError: an answer is empty, or not finite.
    """
    catalogue = recommender.catalogue
    rows = np.linspace(0, len(catalogue) - 1, min(QUERIES, len(catalogue))).astype(int)
    answers = {
        f"track {track!r}": recommender.similar(track, candidates="all", k=2)
        for track in (catalogue.track_ids[row] for row in rows)
        if catalogue.vectors[catalogue.row[track]].any() and len(catalogue) > 1
    }
    if catalogue.factors is not None:
        known = np.flatnonzero(catalogue.has_taste)[:QUERIES]
        for user in (catalogue.factors.user_ids[row] for row in known):
            with_others = len(catalogue.played_by(catalogue.user_row[user])) < len(catalogue)
            if with_others:
                answers[f"user {user!r}"] = recommender.for_user(user, candidates="all", k=2)
    for asked, answer in answers.items():
        if not answer or not all(np.isfinite(row.similarity) for row in answer):
            raise InputError(f"{recommender.run.folder}: gives no usable answer for {asked}")


def watch(engine: Engine, stop: threading.Event) -> None:
    """Load the run anew whenever its files have changed, until `stop` is set.

    A change is waited out: files that are still being written have another state at the next look.
    """
    seconds = engine.settings.watch
    before = engine.state()
    while not stop.wait(seconds):
        now = engine.state()
        if now == before and engine.has_changed():
            with suppress(InputError):  # it is said already; the next change is the next try
                engine.reload()
        before = now
