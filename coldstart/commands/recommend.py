"""The verb `recommend`: unheard tracks for a track, a file, a user, or everybody."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.processes import PartDone, chosen_part
from coldstart.reporting.terminal import json_line
from coldstart.reporting.text import clean
from coldstart.spark.places import RunPlaces
from coldstart.spark.session import ComputeEngine, spark_options

if TYPE_CHECKING:
    from coldstart.retrieval.batch import ListFile
    from coldstart.retrieval.query import Recommendations
    from coldstart.retrieval.sound_queries import FileLists

log = logging.getLogger(__name__)

TABLES = (".csv", ".tsv", ".parquet", ".txt", ".gz", ".jsonl", ".ndjson")
"""Endings of files of ids."""


class _Options(TypedDict, total=False):
    """What lists of every kind may be told; `recommend` says what each means."""

    k: int
    candidates: str
    exclude: str | None
    where: str | None
    per_artist: int | None
    new_share: float | None
    fallback: Literal["average", "none"]
    shards: str | None
    factors: str | None
    placement: Literal["ensemble", "either"] | None
    search: Literal["exact", "index"] | None
    why: bool
    json: bool
    overwrite: bool
    workers: int | None
    skip_broken: bool
    part: str | None
    merge: bool
    engine: ComputeEngine
    master: str | None
    spark: dict[str, Any] | None


@overload
def recommend(
    *,
    run: StrPath,
    like: str | list[str] | None = None,
    audio: str | None = None,
    user: str | None = None,
    liked: str | list[str] | None = None,
    users: None = None,
    out: None = None,
    **options: Unpack[_Options],
) -> Recommendations: ...


@overload
def recommend(
    *,
    run: StrPath,
    like: None = None,
    audio: None = None,
    user: None = None,
    liked: None = None,
    users: str,
    out: StrPath,
    **options: Unpack[_Options],
) -> ListFile | PartDone: ...


@overload
def recommend(
    *,
    run: StrPath,
    like: None = None,
    audio: str | list[str],
    user: None = None,
    liked: None = None,
    users: None = None,
    out: StrPath,
    **options: Unpack[_Options],
) -> FileLists: ...


def recommend(
    *,
    run: StrPath,
    like: str | list[str] | None = None,
    audio: str | list[str] | None = None,
    user: str | None = None,
    liked: str | list[str] | None = None,
    users: str | None = None,
    out: StrPath | None = None,
    k: int = 10,
    candidates: str = "cold",
    exclude: str | None = None,
    where: str | None = None,
    per_artist: int | None = None,
    new_share: float | None = None,
    fallback: Literal["average", "none"] = "average",
    shards: str | None = None,
    factors: str | None = None,
    placement: Literal["ensemble", "either"] | None = None,
    search: Literal["exact", "index"] | None = None,
    why: bool = False,
    json: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    skip_broken: bool = False,
    part: str | None = None,
    merge: bool = False,
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: dict[str, Any] | None = None,
) -> Recommendations | ListFile | PartDone | FileLists:
    """Recommend tracks like a track, like sound files, for a user, or for everybody into a file.

    A warm track is where its plays put it, a cold one where its content puts it, and, once it is
    played, content and plays together: all in the same space, so they can be compared.

    Args:
        run: folder of a fitted run.
        like: id of a track in the shards or the factors; several times: near the mean of their
            directions (to continue a playlist).
        audio: a sound file, which need not be in any dataset; the model must have an audio encoder.
            With `out`, a folder of them, or a track table with a column `audio`; several times.
        user: id of a listener; tracks that they have played are left out.
        liked: id of a track that somebody likes who isn't in the log, several times; or a table
            with a column track_id. They are folded in as a listener who played these.
        users: `all`, or a table with a column user_id: lists for all of them, written to `out`.
        out: with `users`, or a folder as `audio`, the file to write: .parquet, .csv or .jsonl; an
            interrupted job is continued.
        k: how many.
        candidates: `cold`: tracks that the factorisation hasn't seen; `warm`: those it has; `all`;
            or a table with a column track_id.
        exclude: table with a column track_id, of tracks that may not be recommended.
        where: SQL condition over the columns of the tracks' table, such as
            "release_date >= '2026-01-01' and country = 'AT'".
        per_artist: at most so many tracks of one artist.
        new_share: share of cold tracks (0 to 1), spread evenly over the list.
        fallback: with `users`, what a listener gets of whose taste nothing is known: `average`:
            what people like on the whole; `none`: nothing, and they are listed.
        shards: other shards than the run's, to recommend from.
        factors: other factors than the run's.
        placement: where a track lies that was not factorised: `ensemble`, the default: where its
            content and its plays put it; `either`: where its content puts it.
        search: how the best tracks of one query are found: `exact`: all are compared; `index`: by
            what `coldstart index` has made, which may miss some. By default exactly up to a million
            tracks, and beyond by the index, if there is one.
        why: say what each modality of a cold track added to its similarity, which attributes, and
            how much its plays.
        json: print JSON, for programs.
        overwrite: replace `out` if it exists.
        workers: with `out`, sound files that are heard at a time; by default one a core.
        skip_broken: with `out`, leave sound files out that can't be used, and list them in
            `out`.broken.csv.
        part: with `users`, `I/N`: write the I-th of N parts beside `out`, for a job scheduler that
            spreads N of them over machines with shared storage; then the same with `merge`.
        merge: join the parts into `out`; an error if a piece is missing.
        engine: with `users`, what computes: `local`, this machine, or `spark`, a cluster.
        master: of Spark, such as `yarn` or `spark://host:7077`; see `coldstart factorize --help`.
        spark: Spark's settings: `--spark.executor.memory=4g`.

    Returns:
        At most k recommendations, best first; with `out`, what was written.
    """
    from coldstart.commands.list_files import (
        spread_on,
        write_lists,
        write_lists_for_files,
        write_part,
    )
    from coldstart.retrieval.recommender import Recommender

    questions = {"--like": like, "--audio": audio, "--user": user, "--liked": liked}
    if sum(question is not None for question in (*questions.values(), users)) != 1:
        raise InputError(
            "name one query: --like TRACK_ID, --audio FILE, --user USER_ID, --liked TRACK_ID, or "
            "--users all|FILE with --out FILE"
        )
    many = audio if out is not None else None
    if out is None and users is not None:
        raise InputError("--users and --out belong together: --users all --out recs.parquet")
    if out is not None and users is None and audio is None:
        raise InputError("--out is for --users, and for --audio FOLDER")
    if out is None and audio is not None:
        audio = _one_file(audio)
    if many is None and (workers is not None or skip_broken):
        raise InputError("--workers and --skip-broken are for --audio FOLDER with --out FILE")
    cluster = spark_options(engine, master, spark)
    if users is None and (cluster or merge or part is not None):
        raise InputError("--part, --merge and --engine spark are for --users all|FILE --out FILE")
    share = chosen_part(part, merge, cluster is not None)
    if out is not None and why:
        raise InputError("--why explains one query's tracks; leave --out out")
    choices: dict[str, Any] = {
        "k": k,
        "candidates": _candidates(candidates),
        "exclude": _ids(exclude, "exclude") if exclude is not None else (),
        "where": where,
        "per_artist": per_artist,
        "new_share": new_share,
    }
    _complete(run, shards, factors)
    recommender = Recommender(
        run, shards=shards, factors=factors, placement=placement, search=search
    )
    if many is not None and out is not None:
        places = [many] if isinstance(many, str) else many
        return write_lists_for_files(
            recommender, places, out, choices, overwrite, json, workers, Broken(skip_broken)
        )
    if users is not None:
        assert out is not None
        ids = None if users == "all" else _ids(users, "users", "user_id")
        choices |= {"fallback": fallback == "average", "overwrite": overwrite}
        if share is not None:
            return write_part(recommender, share, ids, out, choices, json)
        opened = RunPlaces(os.fspath(run), shards, factors)
        with spread_on(cluster, opened, placement, choices) as spread:
            return write_lists(
                recommender, ids, out, {**choices, "merge": merge, "spread": spread}, json
            )
    if like is not None:
        rows = recommender.similar(like, why=why, **choices)
        if not isinstance(like, str) and len(set(like)) > 1:
            log.info(f"near the mean direction of {len(set(like)):,} tracks")
    elif user is not None:
        rows = recommender.for_user(user, why=why, **choices)
    elif liked is not None:
        ids = _liked(liked)
        rows = recommender.for_liked(ids, why=why, **choices)
        log.info(f"for a listener who likes {len(set(ids)):,} tracks, folded in")
    else:
        assert isinstance(audio, str)
        rows = recommender.for_audio(audio, why=why, **choices)
    _note_strange(rows, recommender.run.folder)
    _show(rows, json)
    return rows


def _complete(run: StrPath, shards: str | None, factors: str | None) -> None:
    """Give other shards the vectors of a first stage's nets that the run reads."""
    if shards is None:
        return
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.stages import complete

    complete(Path(run), shards, lightning_cli, factors)


def _one_file(audio: str | list[str]) -> str:
    """The sound file of a single query."""
    from coldstart.tables.parts import ending_of

    paths = [audio] if isinstance(audio, str) else audio
    if len(paths) > 1 or Path(paths[0]).is_dir() or ending_of(Path(paths[0])):
        raise InputError(
            "a list for each of several sound files is written into a file: name it, "
            f"--audio {paths[0]} --out recs.parquet"
        )
    return paths[0]


def _candidates(candidates: str) -> str | Collection[str]:
    """The kind of candidates, or the ids in a table."""
    if Path(candidates).suffix.lower() not in TABLES:
        return candidates
    return _ids(candidates, "candidates")


def _liked(liked: str | Sequence[str]) -> list[str]:
    """Ids that are named one by one, or in a table."""
    if isinstance(liked, str):
        liked = [liked]
    if len(liked) == 1 and Path(liked[0]).suffix.lower() in TABLES and Path(liked[0]).is_file():
        return _ids(liked[0], "liked")
    return list(liked)


def _ids(path: str, flag: str, column: str = "track_id") -> list[str]:
    """The ids in a table, or in a text with one on each line."""
    from coldstart.tables.splits import read_ids

    if Path(path).suffix.lower() != ".txt":
        return read_ids(path, column)
    if not Path(path).is_file():
        raise InputError(f"--{flag}: {path}: there is no such file")
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    if ids := [line for line in lines if line.strip()]:
        return ids
    raise InputError(f"--{flag}: {path}: there is no id in it")


def _note_strange(rows: Recommendations, run: Path) -> None:
    """A similarity from stored predictions is explained by the run, which may differ."""
    scores = [(r.similarity, r.why.score) for r in rows if r.why and r.why.by != "plays"]
    if any(abs(shown - explained) > 1e-3 for shown, explained in scores):
        log.warning(
            f"note: {run / 'predictions'} was made with other settings than the run's own; "
            "what is printed below adds up to the similarity with the run's own. Run coldstart "
            f"predict --run {run} to make both agree"
        )


def _show(rows: Recommendations, json: bool) -> None:
    from tabulate import tabulate

    if json:
        print(json_line([row.as_json() for row in rows]))
        return
    cells = [
        (r.rank, clean(r.title), clean(r.artist), r.plays, r.similarity, clean(r.track_id))
        for r in rows
    ]
    headers = ["rank", "title", "artist", "plays", rows.measure, "track id"]
    lines = tabulate(cells, headers=headers, floatfmt=".3f", disable_numparse=[1, 2, 5]).split("\n")
    print("\n".join(lines[:2]))
    for line, row in zip(lines[2:], rows, strict=True):
        print(line if row.why is None else f"{line}\n      {clean(str(row.why))}")
    log.info(rows.measured())
    if any(row.plays and row.by != "plays" for row in rows):
        log.info("plays: in the whole log; of new tracks the factorisation has seen none of them")
