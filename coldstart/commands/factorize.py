"""The verb `factorize`: a listening log → one vector a track, one a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from coldstart.errors import Broken, InputError, one_of
from coldstart.factors.als import explicit_als, fold_in, implicit_als, in_score_axes, noise_level
from coldstart.factors.factors import VERSION, Factors
from coldstart.factors.withholding import cut_day, withhold
from coldstart.files import StrPath
from coldstart.tables import read_listens, read_listens_before, read_splits


def factorize(
    listens: StrPath,
    *,
    out: StrPath,
    splits: StrPath | None = None,
    strict: bool = True,
    algorithm: Literal["implicit", "explicit"] = "implicit",
    factors: int = 64,
    regularization: float = 0.05,
    shrinkage: float = 0.0,
    iterations: int = 20,
    weighting: Literal["log", "linear"] = "log",
    alpha: float = 2.0,
    axes: Literal["als", "scores"] = "als",
    seed: int = 0,
    hold_out: float = 0.0,
    until: str | None = None,
    skip_broken: bool = False,
) -> Factors:
    """Factorise a listening log into one vector a track and one a user.

    Reads the log and the splits; writes the folder `out`.

    Args:
        listens: Parquet or CSV with user_id, track_id, plays (or rating, if `explicit`).
        out: folder to write.
        splits: table of track_id and split. Listens of tracks that it doesn't list are counted
            and left out.
        strict: with splits, plays of val and test tracks never reach the factorisation; their
            vectors are folded in afterwards and marked. `false` is the talk's way: factorise
            everything, split afterwards, so that held-out plays shape the users.
        algorithm: `implicit`: ALS on confidence-weighted play counts (Hu, Koren, Volinsky, ICDM
            2008), by the library of that name. `explicit`: squared error over the observed
            ratings only (row 1 of the talk).
        factors: K, width of a vector.
        regularization: λ. For `explicit` it counts once for every observed rating, as in the sum
            that the talk shows.
        shrinkage: above 0, λ is this share of the log's noise level (`mf.noise_level`), whatever
            its size and `alpha`, and `regularization` doesn't count; for `implicit` alone.
        iterations: alternations of users and tracks.
        weighting: confidence from plays: `log`: alpha · (1 + ln(1 + plays)); `linear`:
            1 + alpha · plays.
        alpha: scale of the confidence.
        axes: `als`: as the factorisation left them. `scores`: turned and stretched so that two
            tracks' squared distance is the mean squared difference of all users' scores for them;
            scores stay the same. For models that are fitted by squared error.
        seed: of the random start, and of what is withheld.
        hold_out: this share of each user's training listens is withheld for a test (`test
            --candidates mixed`), never a user's or a track's last one.
        until: YYYY-MM-DD: of training tracks, only listens from before that day count (`listens`
            then has a column timestamp); later ones, of tracks that the user hadn't played before,
            are withheld for a test. `auto`: the day of the first held-out track, of a temporal
            split. Held-out tracks' listens stay, for evaluation alone.
        skip_broken: leave broken rows out and list them in `out`/broken.csv.

    Returns:
        The factors, as they were saved.
    """
    if factors < 1 or iterations < 1 or min(regularization, shrinkage) < 0 or alpha <= 0:
        raise InputError(
            "factors and iterations are at least 1, regularization and shrinkage ≥ 0, alpha > 0"
        )
    one_of("algorithm", algorithm, ("implicit", "explicit"))
    one_of("axes", axes, ("als", "scores"))
    if shrinkage and algorithm == "explicit":
        raise InputError("shrinkage is for `implicit`; `explicit` has regularization")
    one_of("weighting", weighting, ("log", "linear"))
    if not 0 <= hold_out < 1:
        raise InputError(f"hold_out is a share from 0 to below 1, not {hold_out}")
    if (hold_out or until) and not strict:
        raise InputError("hold_out and until keep listens from the factorisation: they need strict")
    broken = Broken(skip_broken)
    value = "rating" if algorithm == "explicit" else "plays"
    day = cut_day(until, splits) if until else None
    if day:
        log, early = read_listens_before(listens, day, value, broken)
    else:
        log = early = read_listens(listens, value, broken)
    side: dict[str, str] = {}
    unknown = 0
    if splits is not None:
        side = dict(read_splits(splits).iter_rows())
        known = log.filter(pl.col("track_id").is_in(list(side)))
        unknown = len(log) - len(known)
        if known.is_empty():
            raise InputError(f"{listens}: no listen is of a track that {splits} lists")
        log = known
    later: pl.DataFrame | None = None
    if day:
        held = pl.col("track_id").is_in([t for t, its in side.items() if its != "train"])
        listed = pl.col("track_id").is_in(log["track_id"].unique().to_list())
        known_early = early.filter(~held & listed)
        later = log.filter(~held).join(known_early, on=["user_id", "track_id"], how="anti")
        log = pl.concat([known_early, log.filter(held)]).sort("user_id", "track_id")
    matrix, user_ids, track_ids = _matrix(log, value)
    split = np.array([side.get(track, "") for track in track_ids])
    folded = np.isin(split, ["val", "test"]) if strict else np.zeros(len(split), dtype=bool)
    if folded.all():
        raise InputError(
            f"{splits}: no training track was played, so there is nothing to factorise"
        )
    order = np.argsort(folded, kind="stable")
    matrix, split, folded = matrix[:, order].tocsr(), split[order], folded[order]
    warm = int((~folded).sum())
    track_ids = [track_ids[i] for i in order]
    matrix, withheld = withhold(matrix, hold_out, seed, warm)
    if later is not None:
        withheld = withheld + _placed(later, value, user_ids, track_ids)

    options: dict[str, Any] = {
        "factors": factors,
        "regularization": regularization,
        "iterations": iterations,
    }
    # A listener of held-out tracks alone must not reach the factorisation either: one user more
    # is another random start. There is nothing to know them by, so their vector is zero.
    heard = np.diff(matrix[:, :warm].indptr) > 0
    users = np.zeros((len(heard), factors), dtype=np.float32)
    if algorithm == "implicit":
        seen = matrix.astype(np.float32)
        if weighting == "log":
            seen.data = np.float32(alpha) * (1 + np.log1p(seen.data))
        else:
            seen.data = 1 + np.float32(alpha) * seen.data
        if shrinkage:
            options["regularization"] = shrinkage * noise_level(seen[heard, :warm])
        tracks, users[heard] = implicit_als(seen[heard, :warm], seed=seed, **options)
    else:
        seen = matrix
        tracks, users[heard] = explicit_als(seen[heard, :warm], seed=seed, **options)
    afterwards = fold_in(seen[:, warm:].T.tocsr(), users, options["regularization"], algorithm)
    vectors = np.concatenate([tracks, afterwards])
    if axes == "scores":
        vectors, users[heard] = in_score_axes(vectors, users[heard])
    result = Factors(
        track_ids=track_ids,
        user_ids=user_ids,
        tracks=vectors,
        users=users,
        folded=folded,
        split=split,
        listens=matrix,
        about={
            "version": VERSION,
            "protocol": _protocol(splits is not None, strict)
            + (f", training listens from before {day} alone" if day else "")
            + (f", {hold_out:.0%} of the training listens withheld" if hold_out else ""),
            "algorithm": algorithm,
            **options,
            **({"shrinkage": shrinkage} if shrinkage else {}),
            **({"weighting": weighting, "alpha": alpha} if algorithm == "implicit" else {}),
            **({"axes": axes} if axes != "als" else {}),
            "seed": seed,
            # What a target needs to know beforehand of the vectors that it will learn from.
            "mean": vectors[:warm].mean(0).tolist(),
            "spread": float(np.sqrt(np.square(vectors[:warm] - vectors[:warm].mean(0)).mean())),
            "listens": matrix.nnz,
            "users": len(user_ids),
            "users_without_training_listens": int((~heard).sum()),
            "tracks_factorised": warm,
            "tracks_folded_in": len(split) - warm,
            "listens_of_unknown_tracks": unknown,
            **({"until": str(day)} if day else {}),
            **({"hold_out": hold_out} if hold_out else {}),
            **({"withheld": withheld.nnz} if withheld.nnz else {}),
        },
        withheld=withheld if withheld.nnz else None,
    )
    result.save(out)
    print(_sentence(result, out, broken))
    return result


def _protocol(has_splits: bool, strict: bool) -> str:
    if not has_splits:
        return "everything factorised, no split given"
    if strict:
        return "strict cold start"
    return "talk: everything factorised, split afterwards"


def _matrix(log: pl.DataFrame, value: str) -> tuple[csr_matrix, list[str], list[str]]:
    """Index a log by its sorted ids: sparse [users, tracks], user ids, track ids."""
    ids = {column: log[column].unique().sort() for column in ("user_id", "track_id")}
    users, tracks = (
        log[column].cast(pl.Enum(ids[column])).to_physical().to_numpy() for column in ids
    )
    shape = (len(ids["user_id"]), len(ids["track_id"]))
    matrix = csr_matrix((log[value].to_numpy().astype(np.float32), (users, tracks)), shape=shape)
    return matrix, ids["user_id"].to_list(), ids["track_id"].to_list()


def _placed(log: pl.DataFrame, value: str, user_ids: list[str], track_ids: list[str]) -> csr_matrix:
    """Listens of those users and tracks that are known, as a matrix of their rows and columns."""
    user, track = ({name: i for i, name in enumerate(ids)} for ids in (user_ids, track_ids))
    known = log.filter(pl.col("user_id").is_in(user_ids), pl.col("track_id").is_in(track_ids))
    at = ([user[u] for u in known["user_id"]], [track[t] for t in known["track_id"]])
    amounts = known[value].to_numpy().astype(np.float32)
    return csr_matrix((amounts, at), shape=(len(user), len(track)))


def _sentence(made: Factors, out: StrPath, broken: Broken) -> str:
    about = made.about
    lines = [
        f"factorised {about['tracks_factorised']:,} tracks × {about['users']:,} users into "
        f"{made.dim} factors ({about['algorithm']}; {about['protocol']})",
        f"folded in {about['tracks_folded_in']:,} held-out tracks from their own plays",
    ]
    if made.withheld is not None:
        lines.append(f"withheld {made.withheld.nnz:,} listens of factorised tracks, for a test")
    if about["listens_of_unknown_tracks"]:
        n = about["listens_of_unknown_tracks"]
        lines.append(f"left out {n:,} listens of tracks that the splits don't list")
    lines += [broken.write(Path(out) / "broken.csv"), f"wrote {out}"]
    lines.append("next: coldstart shard TRACKS --splits SPLITS --out shards")
    return "\n".join(line for line in lines if line)
