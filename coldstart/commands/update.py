"""The verb `update`: listens since the fit, folded into the same space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coldstart.errors import Broken, check_seed
from coldstart.files import StrPath, writable

if TYPE_CHECKING:
    from coldstart.factors.aging import Age, Comparison
    from coldstart.factors.update import Update


def update(
    factors: StrPath,
    *,
    listens: StrPath | None = None,
    shards: StrPath | None = None,
    columns: str | dict[str, str] | None = None,
    min_seconds: float | None = None,
    skip_broken: bool = False,
    compare_refit: bool = False,
    undo: bool = False,
    seed: int = 0,
) -> Update:
    """Fold listens since the fit into the factors: known and new users, known and new tracks.

    The space stays as it is, and so does what was fitted to it: factorised tracks' vectors are
    fixed where users are solved, factorised users' where tracks are. The same listens count once,
    whatever file they come in. Writes `updates` in the factors' folder; says how far the space has
    aged, and whether to factorise again. Without listens it says only that.

    Args:
        factors: folder that `factorize` wrote.
        listens: table as for `factorize`: user_id, track_id, plays (or rating, for factors of
            ratings), or a row a play; with a timestamp, listens that were counted before are
            recognised one by one, otherwise as a whole table.
        shards: dataset; listens of tracks that it has don't count as unknown.
        columns: what the table calls its columns, as user_id=uid,track_id=song,plays=cnt.
        min_seconds: leave out shorter plays, as `factorize` does; without it, as it did for these
            factors.
        skip_broken: leave broken rows out and list them in `updates/broken.csv`.
        compare_refit: factorise again, without the last update, and look for that update's listens
            with both: is a refit ahead?
        undo: take the last update out again.
        seed: of the users drawn for the comparison, and of the order of equals.

    Returns:
        What was done, and the space's age; as written to `updates/report.json`.
    """
    from coldstart.factors.events import events_of
    from coldstart.factors.factors import Factors
    from coldstart.factors.update import update_factors, value_of
    from coldstart.shards.reading import Shards
    from coldstart.tables.listens import read_events
    from coldstart.tables.table import write_broken

    writable(factors)
    check_seed(seed)
    broken = Broken(skip_broken)
    events = catalogue = None
    about = Factors.about_of(factors)
    if listens is not None:
        value = value_of(about)
        if min_seconds is None:
            min_seconds = about.get("min_seconds", 0.0)
        rows = read_events(listens, value, broken, columns, min_seconds)
        events = events_of(rows, value, str(listens))
    if shards is not None:
        catalogue = {track["track_id"] for track in Shards(shards).tracks_in_use()}
    result = update_factors(
        factors,
        events,
        catalogue=catalogue,
        undo=undo,
        compare_refit=compare_refit,
        seed=seed,
    )
    print(_summary(result))
    if skipped := write_broken(Path(factors) / "updates" / "broken.csv", broken):
        print(skipped)
    print(_next(result))
    return result


def _summary(result: Update) -> str:
    lines = [_outcome(result)]
    if result.outcome == "folded":
        if result.repeated or result.in_base:
            lines.append(
                f"left out {result.repeated:,} rows that were there before or twice, and "
                f"{result.in_base:,} that the factorised log has"
            )
        if result.unknown_tracks:
            lines.append(
                f"{result.unknown_listens:,} listens are of {result.unknown_tracks:,} unknown "
                "tracks; they count as played, and the tracks have vectors if known users played "
                "them"
            )
    lines.append(_age(result.age))
    if result.comparison:
        lines.append(_comparison(result.comparison))
    return "\n".join(lines)


def _outcome(result: Update) -> str:
    if result.outcome == "folded":
        start = f"update {result.updates:,}: {result.listens:,} listens by {result.users:,} users"
        start += (
            f" ({result.new_users:,} new) of {result.tracks:,} tracks ({result.new_tracks:,} new)"
        )
        if not result.users_folded and not result.tracks_folded:
            return (
                f"{start}; nothing to fold: no listen is of a factorised track or by a factorised "
                "user"
            )
        return (
            f"{start}; folded in {result.users_folded:,} users and {result.tracks_folded:,} tracks"
        )
    if result.outcome == "repeated":
        return f"these {result.listens:,} listens were there before: nothing has changed"
    if result.outcome == "undone":
        return f"took {result.listens:,} listens out again; updates that count: {result.updates:,}"
    return f"updates that count: {result.updates:,}"


def _age(age: Age) -> str:
    return (
        f"since the fit: {age.share:.1%} of {age.listens:,} listens (pairs of user and track), "
        f"{age.new_users:,} of {age.users:,} users, {age.new_tracks:,} of {age.tracks:,} tracks\n"
        f"no vector: {age.users_without_vector:,} users who played no factorised track, "
        f"{age.tracks_without_vector:,} tracks that no factorised user played"
    )


def _comparison(comparison: Comparison) -> str:
    drawn = (
        f", drawn from {comparison.users_of:,}" if comparison.users < comparison.users_of else ""
    )
    return (
        f"the last update's listens, looked for by what was known before: NDCG@{comparison.k} of "
        f"{comparison.candidates:,} candidates for {comparison.users:,} users{drawn}, "
        f"{comparison.listens:,} listens of {comparison.tracks:,} tracks to be found, seed "
        f"{comparison.seed}\n"
        f"  folded in {comparison.folded:.4f}   refit {comparison.refit:.4f} "
        f"({comparison.gain:+.1%} ± {comparison.gain_error:.1%})   popularity "
        f"{comparison.popularity:.4f}   random {comparison.random:.4f}"
    )


def _next(result: Update) -> str:
    report = f"wrote {Path(result.factors) / 'updates' / 'report.json'}"
    if result.advice.refit:
        return (
            f"{report}\nfactorise again: {result.advice.reason}\n"
            "next: coldstart factorize LISTENS --out NEW_FACTORS, and fit to them"
        )
    return (
        f"{report}\nno need to factorise again: {result.advice.reason}\n"
        "next: coldstart recommend --run RUN --user USER"
    )
