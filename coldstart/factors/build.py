"""A listening log → `Factors`: what the factorisation may see, solving, folding in."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from coldstart.errors import Broken, InputError, one_of
from coldstart.factors.factorization import (
    HERE,
    FactorizationSettings,
    Listens,
    Solution,
    Solver,
    solve,
)
from coldstart.factors.factors import VERSION, Factors
from coldstart.factors.sparsity import (
    warn_of_nothing_withheld,
    warn_of_the_cut,
    warn_of_unplayed_sides,
)
from coldstart.factors.withholding import cut_day, withhold
from coldstart.files import StrPath
from coldstart.tables.column_names import ColumnNames
from coldstart.tables.listens import read_log
from coldstart.tables.splits import read_splits

MAX_FACTORS = 10_000
"""A system of K × K numbers is solved for each user and track; this many factors take 400 MB."""


class Log(NamedTuple):
    """A log as tables.

    Attributes:
        visible: what factorisation and folding-in may see: user_id, track_id, and the value.
        later: listens of training tracks from `day` on, to be withheld; None without `day`.
        sides: track id → side; empty without splits.
        unlisted: number of listens of tracks that the splits don't list.
        day: listens of training tracks count from before this day alone.
        period: its first and its last time, if it has times.
    """

    visible: pl.DataFrame
    later: pl.DataFrame | None
    sides: dict[str, str]
    unlisted: int
    day: date | None
    period: tuple[datetime, datetime] | None


def factors_of(
    listens: StrPath,
    splits: StrPath | None,
    settings: FactorizationSettings,
    broken: Broken,
    columns: ColumnNames = None,
    min_seconds: float = 0.0,
    solver: Solver = HERE,
) -> Factors:
    """Factorise a log.

    Args:
        listens: table of the log.
        splits: table of track_id and split.
        settings: how.
        broken: collects broken rows of the log.
        columns: what the log calls its columns; see `read_listens`.
        min_seconds: shorter plays are left out.
        solver: what solves.

    Returns:
        The factors; nothing is written.

    Raises:
        InputError: a setting is out of range, a table can't be used, or nothing to factorise.
    """
    _check(settings)
    log = _read(listens, splits, settings, broken, columns, min_seconds)
    matrices = _matrices(log, splits, settings)
    solution = solve(matrices, settings, solver)
    return Factors(
        track_ids=matrices.track_ids,
        user_ids=matrices.user_ids,
        tracks=solution.tracks,
        users=solution.users,
        folded=matrices.folded,
        split=matrices.split,
        listens=matrices.matrix,
        about=_about(log, matrices, solution, splits is not None, settings)
        | ({"min_seconds": min_seconds} if min_seconds else {})
        | dict(solver.about),
        withheld=matrices.withheld if matrices.withheld.nnz else None,
        axes=solution.axes,
    )


def _check(settings: FactorizationSettings) -> None:
    """Raise InputError for settings out of range, or that contradict each other."""
    counts = (settings.factors, settings.iterations)
    strengths = (settings.regularization, settings.shrinkage)
    if min(counts) < 1 or min(strengths) < 0 or settings.alpha <= 0:
        raise InputError(
            "factors and iterations are at least 1, regularization and shrinkage ≥ 0, alpha > 0"
        )
    if settings.factors > MAX_FACTORS:
        raise InputError(f"factors are at most {MAX_FACTORS:,}, not {settings.factors:,}")
    if settings.seed < 0:
        raise InputError(f"seed is a whole number from 0 on, not {settings.seed}")
    one_of("algorithm", settings.algorithm, ("implicit", "explicit"))
    one_of("axes", settings.axes, ("als", "scores"))
    if settings.shrinkage and settings.algorithm == "explicit":
        raise InputError("shrinkage is for `implicit`; `explicit` has regularization")
    one_of("weighting", settings.weighting, ("log", "linear"))
    if not 0 <= settings.hold_out < 1:
        raise InputError(f"hold_out is a share from 0 to below 1, not {settings.hold_out}")
    if (settings.hold_out or settings.until) and not settings.strict:
        raise InputError("hold_out and until keep listens from the factorisation: they need strict")


def _read(
    listens: StrPath,
    splits: StrPath | None,
    settings: FactorizationSettings,
    broken: Broken,
    columns: ColumnNames,
    min_seconds: float,
) -> Log:
    """Read the log, and take out what the factorisation must not see."""
    day = cut_day(settings.until, splits) if settings.until else None
    tables = read_log(listens, settings.value, broken, columns, min_seconds, day)
    log, early = tables.pairs, tables.before
    sides: dict[str, str] = {}
    unlisted = 0
    if splits is not None:
        sides = dict(read_splits(splits).iter_rows())
        listed = log.filter(pl.col("track_id").is_in(list(sides)))
        unlisted = len(log) - len(listed)
        if listed.is_empty():
            here, there = log["track_id"][0], next(iter(sides))
            raise InputError(
                f"{listens}: no listen is of a track that {splits} lists; ids are such as {here!r} "
                f"here, {there!r} there"
            )
        log = listed
    if day is None or early is None:
        return Log(log, None, sides, unlisted, None, tables.period)
    cold = pl.col("track_id").is_in([track for track, side in sides.items() if side != "train"])
    in_log = pl.col("track_id").is_in(log["track_id"].unique().to_list())
    warm_early = early.filter(~cold & in_log)
    later = log.filter(~cold).join(warm_early, on=["user_id", "track_id"], how="anti")
    visible = pl.concat([warm_early, log.filter(cold)]).sort("user_id", "track_id")
    return Log(visible, later, sides, unlisted, day, tables.period)


def _matrices(log: Log, splits: StrPath | None, settings: FactorizationSettings) -> Listens:
    """The log as matrices; a share of the training listens is withheld."""
    matrix, user_ids, track_ids = _matrix(log.visible, settings.value)
    split = np.array([log.sides.get(track, "") for track in track_ids])
    folded = np.isin(split, ["val", "test"]) & settings.strict
    if folded.all():
        when = f" before {log.day}" if log.day else ""
        raise InputError(
            f"{splits}: no training track was played{when}, so there is nothing to factorise"
        )
    warn_of_unplayed_sides(log.sides.values(), split)
    order = np.argsort(folded, kind="stable")
    track_ids = [track_ids[i] for i in order]
    warm = int((~folded).sum())
    matrix, withheld = withhold(matrix[:, order].tocsr(), settings.hold_out, settings.seed, warm)
    if settings.hold_out and not withheld.nnz:
        warn_of_nothing_withheld(settings.hold_out)
    if log.later is not None:
        later = _matrix_of(log.later, settings.value, user_ids, track_ids)
        withheld = withheld + later
        _warn_of_the_cut(log, later.nnz)
    return Listens(matrix, withheld, user_ids, track_ids, split[order], folded[order])


def _warn_of_the_cut(log: Log, withheld: int) -> None:
    """Say which training tracks and listeners have later listens alone."""
    assert log.later is not None
    assert log.day is not None
    cold = [track for track, side in log.sides.items() if side != "train"]
    early = log.visible.filter(~pl.col("track_id").is_in(cold))
    tracks, users = (
        len(set(log.later[column].unique()) - set(early[column].unique()))
        for column in ("track_id", "user_id")
    )
    warn_of_the_cut(log.day, tracks, users, withheld)


def _matrix(log: pl.DataFrame, value: str) -> tuple[csr_matrix, list[str], list[str]]:
    """Index a log by its sorted ids: sparse [users, tracks], user ids, track ids."""
    ids = {column: log[column].unique().sort() for column in ("user_id", "track_id")}
    users, tracks = (
        log[column].cast(pl.Enum(ids[column])).to_physical().to_numpy() for column in ids
    )
    shape = (len(ids["user_id"]), len(ids["track_id"]))
    matrix = csr_matrix((log[value].to_numpy().astype(np.float32), (users, tracks)), shape=shape)
    return matrix, ids["user_id"].to_list(), ids["track_id"].to_list()


def _matrix_of(
    log: pl.DataFrame, value: str, user_ids: list[str], track_ids: list[str]
) -> csr_matrix:
    """The listens of these users and tracks, as a matrix [user_ids, track_ids]."""
    row = {user: i for i, user in enumerate(user_ids)}
    column = {track: i for i, track in enumerate(track_ids)}
    log = log.filter(pl.col("user_id").is_in(user_ids), pl.col("track_id").is_in(track_ids))
    places = ([row[user] for user in log["user_id"]], [column[track] for track in log["track_id"]])
    amounts = log[value].to_numpy().astype(np.float32)
    return csr_matrix((amounts, places), shape=(len(row), len(column)))


def _about(
    log: Log,
    listens: Listens,
    solution: Solution,
    has_splits: bool,
    settings: FactorizationSettings,
) -> dict[str, Any]:
    """What factors.json says."""
    about: dict[str, Any] = {
        "version": VERSION,
        "protocol": _protocol(has_splits, log.day, settings),
        "algorithm": settings.algorithm,
        "factors": settings.factors,
        "regularization": solution.regularization,
        "iterations": settings.iterations,
    }
    if settings.shrinkage:
        about["shrinkage"] = settings.shrinkage
    if settings.algorithm == "implicit":
        about |= {"weighting": settings.weighting, "alpha": settings.alpha}
    if settings.axes != "als":
        about["axes"] = settings.axes
    warm = listens.warm
    vectors = solution.tracks[:warm]
    about |= {
        "seed": settings.seed,
        # What a target needs to know beforehand of the vectors that it will learn from.
        "mean": vectors.mean(0).tolist(),
        "spread": float(np.sqrt(np.square(vectors - vectors.mean(0)).mean())),
        "listens": listens.matrix.nnz,
        "users": len(listens.user_ids),
        "users_without_training_listens": int((~solution.active).sum()),
        "tracks_factorised": warm,
        "tracks_folded_in": len(listens.track_ids) - warm,
        "listens_of_unknown_tracks": log.unlisted,
    }
    if log.period:  # an update tells by it what is new
        about["first_listen"], about["last_listen"] = map(str, log.period)
    if log.day:
        about["until"] = str(log.day)
    if settings.hold_out:
        about["hold_out"] = settings.hold_out
    if listens.withheld.nnz:
        about["withheld"] = listens.withheld.nnz
    return about


def _protocol(has_splits: bool, day: date | None, settings: FactorizationSettings) -> str:
    """In words, what the factorisation has seen."""
    if not has_splits:
        protocol = "everything factorised, no split given"
    elif settings.strict:
        protocol = "strict cold start"
    else:
        protocol = "talk: everything factorised, split afterwards"
    if day:
        protocol += f", training listens from before {day} alone"
    if settings.hold_out:
        protocol += f", {settings.hold_out:.0%} of the training listens withheld"
    return protocol
