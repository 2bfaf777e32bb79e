"""Changes through the service: new tracks, withdrawn ones, listens. All are written to disk first.

One thread makes them, one after the other; those that wait are made together, and then the run is
loaded once. A request is answered when its change is on disk and in use.
"""

from __future__ import annotations

import json
import logging
import queue
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from coldstart.audio.mono import Finding
from coldstart.audio.storage import field_of
from coldstart.errors import Broken, InputError, UnknownIdError
from coldstart.factors.events import events_of
from coldstart.factors.factors import Factors
from coldstart.factors.update import update_factors, value_of
from coldstart.files import fingerprint
from coldstart.sample import Sample, folder_of
from coldstart.service.engine import Engine
from coldstart.shards.extension import extend
from coldstart.shards.matching import COUNTS
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source
from coldstart.shards.withdrawal import bring_back, withdraw
from coldstart.tables.listens import read_events
from coldstart.tables.tracks import read_tracks

log = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """What a store keeps of a file, and what the file is like."""

    content: bytes
    finding: Finding

    def __fspath__(self) -> str:
        """What a report calls the file, which has no name of its own."""
        return "uploaded"


StoredSound = Mapping[str, Decoded]
"""Name of a store of the dataset → what it keeps of a file."""


class NewTrack(NamedTuple):
    """A track that joins.

    Attributes:
        row: of the tracks' table: track_id, title, artist, and other columns.
        fields: of its content without sound.
        sound: what each store keeps of its sound; None without any.
        replace: whether it may take the place of a track of this id.
    """

    row: Mapping[str, Any]
    fields: Sample
    sound: StoredSound | None = None
    replace: bool = False


class Withdrawn(NamedTuple):
    """Tracks that are recommended no more; or, undone, come back."""

    ids: Sequence[str]
    undo: bool = False


class NewListens(NamedTuple):
    """Rows of a log: user_id, track_id, plays (or rating), timestamp."""

    rows: Sequence[Mapping[str, Any]]


Change = NewTrack | Withdrawn | NewListens


class Writer:
    """Makes changes, one after the other, in a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        """Begin to wait for changes."""
        self.engine = engine
        self._waiting: queue.SimpleQueue[tuple[Change, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="changes", daemon=True)
        self._thread.start()

    def make(self, change: Change) -> Future[Any]:
        """What the change gave, once it is in use.

        Of new tracks and withdrawals it is nothing; of listens, an `Update`. The future raises
        InputError where the change can't be made; then nothing of it is written.
        """
        future: Future[Any] = Future()
        self._waiting.put((change, future))
        return future

    def close(self) -> None:
        """Make what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, end = [first], False
            while not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    end = True
                    break
                batch.append(following)
            self._make(batch)
            if end:
                return

    def _make(self, batch: Sequence[tuple[Change, Future[Any]]]) -> None:
        """Make some changes, load the run, and say how each went."""
        outcomes = self._outcomes([change for change, _ in batch])
        try:
            if any(not isinstance(outcome, Exception) for outcome in outcomes):
                self.engine.reload()
        except Exception as error:
            outcomes = [
                outcome if isinstance(outcome, Exception) else _unused(error)
                for outcome in outcomes
            ]
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _outcomes(self, changes: Sequence[Change]) -> list[Any]:
        """What each change gave, or why it couldn't be made; new tracks in a row go together."""
        groups = (list(group) for _, group in groupby(changes, key=_kind))
        return [outcome for group in groups for outcome in self._made(group)]

    def _made(self, group: Sequence[Change]) -> list[Any]:
        try:
            return [self._written(group)] * len(group)
        except InputError as error:
            if len(group) == 1:
                return [error]
            return [outcome for change in group for outcome in self._made([change])]
        except Exception as error:  # a full disk, say: those who wait must hear of it
            log.exception("a change failed")
            return [error] * len(group)

    def _written(self, group: Sequence[Change]) -> Any:
        run = self.engine.current.recommender.run
        change = group[0]
        if isinstance(change, NewTrack):
            tracks = [track for track in group if isinstance(track, NewTrack)]
            return add_tracks(Shards(run.data.shards.folder), tracks)
        if isinstance(change, Withdrawn):
            return withdraw_tracks(run.data.shards, change)
        return fold_in(run.places["factors"], run.data.shards, change)


def _kind(change: Change) -> tuple[object, ...]:
    """Neighbours of one kind are made together: new tracks, and of all others each by itself."""
    return ("tracks", change.replace) if isinstance(change, NewTrack) else (id(change),)


def _unused(error: Exception) -> InputError:
    return InputError(f"it is written, but isn't in use, since the run can't be loaded: {error}")


def stores_of(dataset: Shards) -> dict[str, dict[str, Any]]:
    """Name of each store of sound → its facts, without counts."""
    return {
        name: {key: value for key, value in info.items() if key not in COUNTS}
        for name, info in dataset.modalities.items()
        if "sample_rate" in info
    }


def add_tracks(dataset: Shards, tracks: Sequence[NewTrack]) -> None:
    """Write new tracks as `coldstart add` does.

    Raises:
        InputError: what is said of a track can't be used, or its id is taken.
    """
    table = _table(tracks)
    extend(
        dataset,
        table,
        _sources(dataset, tracks),
        file="tracks",
        replace=tracks[0].replace,
        workers=1,
        broken=Broken(),
    )


def _table(tracks: Sequence[NewTrack]) -> pl.DataFrame:
    """Rows of requests, checked by the reader of tables."""
    columns = list(dict.fromkeys(key for track in tracks for key in track.row))
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
        path = Path(folder) / "tracks.jsonl"
        rows = [json.dumps({key: track.row.get(key) for key in columns}) for track in tracks]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        try:
            return read_tracks(path)
        except InputError as error:
            raise InputError(str(error).replace(f"{path}", "tracks")) from error


def _sources(dataset: Shards, tracks: Sequence[NewTrack]) -> dict[str, Source]:
    """What the dataset's modalities get of these tracks."""
    sources: dict[str, Source] = {}
    items: dict[str, dict[str, bytes]] = {}
    for track in tracks:
        for field, content in track.fields.items():
            items.setdefault(field, {})[track.row["track_id"]] = content
    for field, contents in items.items():
        source = fingerprint(field, sorted(contents))
        sources[folder_of(field)] = Source(field, _as_it_is, contents, {}, source, "tracks")
    for name, facts in stores_of(dataset).items():
        sounds = {t.row["track_id"]: t.sound[name] for t in tracks if t.sound is not None}
        if sounds:
            sources[name] = Source(
                field=field_of(facts),
                encode=tuple,
                items=sounds,
                facts=facts,
                fingerprint=fingerprint(
                    *facts.values(),
                    *(sha256(sound.content).hexdigest() for sound in sounds.values()),
                ),
                file="tracks",
                costly=True,
                reader="frames" if "transform" in facts else "flac",
                reported=True,
            )
    return sources


def _as_it_is(item: Any) -> Any:
    return item


def withdraw_tracks(dataset: Shards, change: Withdrawn) -> None:
    """As `coldstart remove`.

    Raises:
        InputError: the dataset has none of these tracks, or can't be written to.
    """
    result = (bring_back if change.undo else withdraw)(dataset, list(change.ids))
    if len(result.unknown) == len(set(change.ids)):
        raise UnknownIdError(f"there is no track {result.unknown[0]!r}")


def fold_in(factors: str | None, dataset: Shards, change: NewListens) -> Any:
    """As `coldstart update`.

    Raises:
        InputError: there are no factors, or a row can't be used.
    """
    if factors is None:
        raise InputError("there are no factors here, so listens can't be folded in")
    about = Factors.about_of(factors)
    value = value_of(about)
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
        path = Path(folder) / "listens.jsonl"
        path.write_text("\n".join(map(json.dumps, change.rows)) + "\n", encoding="utf-8")
        try:
            rows = read_events(path, value, Broken(), None, about.get("min_seconds", 0.0))
            events = events_of(rows, value, "listens")
        except InputError as error:
            raise InputError(str(error).replace(f"{path}", "listens")) from error
    catalogue = {track["track_id"] for track in dataset.tracks_in_use()}
    return update_factors(factors, events, catalogue=catalogue)
