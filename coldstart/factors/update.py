"""`update`: listens since the fit are folded in and stored; and the factors with all of them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from coldstart.errors import InputError
from coldstart.factors.aging import Advice, Age, Comparison, advice_of, age_of, compare_with_refit
from coldstart.factors.events import Events, Overlap, without_base, without_earlier
from coldstart.factors.factors import Factors
from coldstart.factors.folding import Folding, check_foldable, fold_listens
from coldstart.factors.history import Updates, pairs_of
from coldstart.files import StrPath, is_writable, local, reserved, write_json
from coldstart.tables.table import write_table

log = logging.getLogger(__name__)


class Update(NamedTuple):
    """What an update did, and how far the space has aged.

    Attributes:
        factors: the folder.
        id: of the factors, which an update doesn't change.
        updates: number of updates that count now.
        outcome: `folded`; `repeated`: nothing was new; `undone`: the last one was taken out;
            `none`: neither was asked for.
        fingerprint: of the listens given; None without any.
        listens: given, each event or pair once.
        repeated: rows that were there before, or more than once, and don't count again.
        early: listens from before the last one of the factorised log.
        in_base: of them, those of pairs that it has, which are taken to be in it and left out.
        users: with listens that count.
        new_users: of them, unknown before this update.
        users_folded: users whose vector was solved.
        tracks: with listens that count.
        new_tracks: of them, unknown before this update.
        tracks_folded: tracks whose vector was solved.
        unknown_tracks: neither factorised nor, if a dataset was given, in that.
        unknown_listens: of these tracks.
        age: of the space, with all updates.
        comparison: with a refit, if it was asked for.
        advice: whether to factorise again.
    """

    factors: str
    id: str
    updates: int
    outcome: str
    fingerprint: str | None
    listens: int
    repeated: int
    early: int
    in_base: int
    users: int
    new_users: int
    users_folded: int
    tracks: int
    new_tracks: int
    tracks_folded: int
    unknown_tracks: int
    unknown_listens: int
    age: Age
    comparison: Comparison | None
    advice: Advice

    def as_json(self) -> dict[str, Any]:
        """As `report.json` has it."""
        comparison = self.comparison and self.comparison._asdict()
        nested = {"age": self.age._asdict(), "advice": self.advice._asdict()}
        return {**self._asdict(), **nested, "comparison": comparison}


class _Change(NamedTuple):
    """Counts of what one update brought; fields as in `Update`."""

    outcome: str = "none"
    fingerprint: str | None = None
    listens: int = 0
    repeated: int = 0
    early: int = 0
    in_base: int = 0
    users: int = 0
    new_users: int = 0
    users_folded: int = 0
    tracks: int = 0
    new_tracks: int = 0
    tracks_folded: int = 0
    unknown_tracks: int = 0
    unknown_listens: int = 0


def current_factors(folder: StrPath) -> Factors:
    """A folder's factors with all updates folded in: as last saved; nothing is solved.

    Without updates they are the factors themselves. `folded` stays false for factorised tracks,
    also where listens since have moved their vectors, and is true for held-out and new ones.
    What the factorisation withheld counts as played.

    Raises:
        InputError: the folder holds no factors, or incomplete ones.
    """
    space = Factors.about_of(folder).get("id", "")
    while True:
        state = Updates(folder, space).state_folder
        if state is None:
            return Factors.load(folder)
        try:
            return Factors.load(state)
        except InputError as error:
            # Another process may have replaced the state in between; then the new one is read.
            if Updates(folder, space).state_folder == state:
                raise InputError(
                    f"{state}: incomplete or damaged; `coldstart update {folder}` makes it again"
                ) from error


def update_factors(
    folder: StrPath,
    events: Events | None = None,
    *,
    catalogue: Collection[str] | None = None,
    undo: bool = False,
    compare_refit: bool = False,
    seed: int = 0,
) -> Update:
    """Fold listens since the fit into factors, and say how far the space has aged.

    Args:
        folder: of the factors; `updates` in it is written.
        events: listens; None: only what the other arguments ask for.
        catalogue: ids of tracks that are known though they may not be in the factors.
        undo: take the last update out again.
        compare_refit: compare with a factorisation made anew, by the last update's listens.
        seed: of the comparison.

    Raises:
        InputError: no factors, another update is at work, or the arguments contradict each other.
    """
    folder = local(folder)
    if undo and events is not None:
        raise InputError("undo takes the last update out; give it without listens")
    Factors.about_of(folder)
    if not is_writable(folder):
        raise InputError(f"{folder}: can't be written to, so nothing can be folded in here")
    with reserved(
        folder / "updates",
        f"{folder}: another update is at work here; give the command again when it has ended",
    ):
        base = Factors.load(folder)
        check_foldable(base, str(folder))
        updates = Updates(folder, base.about["id"])
        if undo:
            change = _undone(updates, base)
        elif events is not None:
            change = _added(updates, base, events, catalogue)
        else:
            change = _Change()
            _mend(updates, base)
        state = updates.state_folder
        current = Factors.load(state) if state else base
        comparison = _compared(updates, base, seed) if compare_refit else None
        age = age_of(base, current)
        report = Update(
            factors=str(folder),
            id=base.about["id"],
            updates=len(updates.rows),
            **change._asdict(),
            age=age,
            comparison=comparison,
            advice=advice_of(age, comparison),
        )
        write_json(folder / "updates" / "report.json", report.as_json())
    return report


def _added(
    updates: Updates, base: Factors, events: Events, catalogue: Collection[str] | None
) -> _Change:
    """Fold new listens in and store them."""
    value = value_of(base.about)
    given = len(events.table)
    change = _Change(outcome="repeated", fingerprint=events.fingerprint, listens=given)
    if events.fingerprint in {row["fingerprint"] for row in updates.rows}:
        _mend(updates, base)
        return change._replace(repeated=given + events.repeated)
    _say_what_times_tell(updates, base, events)
    events, overlap = without_base(events, base)
    _warn_of_overlap(overlap, base)
    events = without_earlier(events, updates.listens(), value)
    change = change._replace(repeated=events.repeated, early=overlap.early, in_base=overlap.counted)
    if events.table.is_empty():
        _mend(updates, base)
        return change
    state = updates.state_folder
    before = _loaded(state)
    known = before or base
    _warn_of_strangers(known, events)
    pairs = pairs_of([*updates.listens(), events.table], value)
    folding = fold_listens(base, pairs, before, events.table if before or not state else None)
    _store(updates, base, events, folding)
    recent = pairs_of([events.table], value)
    users, tracks = recent["user_id"].unique(), recent["track_id"].unique()
    names = {*base.track_ids, *(catalogue or ())}
    unknown = recent.filter(~pl.col("track_id").is_in(list(names)))
    return change._replace(
        outcome="folded",
        users=len(users),
        new_users=len(folding.factors.user_ids) - len(known.user_ids),
        users_folded=folding.users,
        tracks=len(tracks),
        new_tracks=len(folding.factors.track_ids) - len(known.track_ids),
        tracks_folded=folding.tracks,
        unknown_tracks=unknown["track_id"].n_unique(),
        unknown_listens=len(unknown),
    )


def value_of(about: dict[str, Any]) -> str:
    """The column of numbers of listens that can be folded in, by what factors say of themselves."""
    return "rating" if about["algorithm"] == "explicit" else "plays"


def _loaded(state: Path | None) -> Factors | None:
    """The state, or None if there is none or it is damaged: then it is made again."""
    try:
        return Factors.load(state) if state else None
    except InputError as error:
        log.warning(f"{error}; it is made again from the stored listens")
        return None


def _store(updates: Updates, base: Factors, events: Events, folding: Folding) -> None:
    """Write an update's listens and the new state, then count it."""
    file = f"listens/{len(updates.rows) + 1:06d}.parquet"
    write_table(updates.folder / file, events.table)
    period = events.period
    row = {
        "file": file,
        "fingerprint": events.fingerprint,
        "listens": len(events.table),
        "first": period[0].isoformat() if period else None,
        "last": period[1].isoformat() if period else None,
    }
    _commit(updates, base, [*updates.rows, row], folding.factors)


def _commit(updates: Updates, base: Factors, rows: list[dict[str, Any]], factors: Factors) -> None:
    folder = updates.folder.parent.parent
    if Factors.about_of(folder).get("id") != base.about["id"]:
        raise InputError(f"{folder}: the factors were replaced meanwhile; update again")
    factors.about["updates"] = len(rows)
    updates.write(rows, factors)


def _undone(updates: Updates, base: Factors) -> _Change:
    """Take the last update out."""
    if not updates.rows:
        raise InputError(f"{updates.folder.parent.parent}: there is no update to undo")
    rows = updates.rows[:-1]
    folding = fold_listens(base, updates.pairs(value_of(base.about), len(rows)))
    listens = updates.rows[-1]["listens"]
    _commit(updates, base, rows, folding.factors)
    return _Change(
        outcome="undone",
        listens=listens,
        users_folded=folding.users,
        tracks_folded=folding.tracks,
    )


def _mend(updates: Updates, base: Factors) -> None:
    """Make the state again if it is damaged, or an update was killed before it had cleared up."""
    state = updates.state_folder
    left = [path for path in updates.folder.glob("*state-*") if path != state]
    factors = _loaded(state)
    if not left and (state is None or factors is not None):
        return
    for path in left:
        log.info(f"{path}: left by an update that was killed; removed")
    if factors is None:
        factors = fold_listens(base, updates.pairs(value_of(base.about))).factors
    _commit(updates, base, updates.rows, factors)


def _compared(updates: Updates, base: Factors, seed: int) -> Comparison:
    if not updates.rows:
        raise InputError("compare_refit: there is no update yet, whose listens could be looked for")
    value = value_of(base.about)
    *_, last = updates.listens()
    earlier = updates.pairs(value, len(updates.rows) - 1)
    return compare_with_refit(base, earlier, pairs_of([last], value), seed)


def _say_what_times_tell(updates: Updates, base: Factors, events: Events) -> None:
    """Say once what can't be seen about listens that overlap."""
    if not events.has_times:
        if all(row["first"] for row in updates.rows):
            log.warning(
                "these listens have no timestamps: what overlaps the factorised log or another "
                "update can't be told from new listens, and counts again; only the very same "
                "listens are recognised"
            )
    elif "last_listen" not in base.about and not updates.rows:
        log.warning(
            "the factorised log had no timestamps, so which of these listens it has already can't "
            "be told: give listens since the fit alone"
        )


def _warn_of_overlap(overlap: Overlap, base: Factors) -> None:
    if overlap.early:
        log.warning(
            f"{overlap.early:,} listens are from before {base.about['last_listen']}, the last of "
            f"the factorised log: {overlap.counted:,} of pairs that it has are taken to be in it "
            f"and left out, the other {overlap.early - overlap.counted:,} count"
        )


def _warn_of_strangers(known: Factors, events: Events) -> None:
    """Warn where no id is known: the tables probably write them in another way."""
    for column, ids in (("user_id", known.user_ids), ("track_id", known.track_ids)):
        if ids and not events.table[column].is_in(ids).any():
            log.warning(
                f"no {column} of these listens is known: they are such as "
                f"{events.table[column][0]!r} here, {ids[0]!r} in the factors"
            )
