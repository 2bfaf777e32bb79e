"""How far listens since the fit have moved on from a factorisation, and when to factorise again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.errors import InputError
from coldstart.factors.events import places_of
from coldstart.factors.factorization import Listens, solve
from coldstart.factors.factors import Factors
from coldstart.factors.folding import fold_listens, settings_of
from coldstart.ranking import Scores, top_k

K = 20
"""Cut-off of NDCG."""

MAX_USERS = 5000
"""More users than this aren't ranked for: a sample is drawn, whose error is small enough."""

BLOCK_MB = 64
"""Maximum size of one block's scores."""

MAX_NEW = 0.10
"""With a larger share of listens since the fit, factorise again: docs/data.md says why."""

MAX_GAIN = 0.01
"""So with a refit that is ahead by more than this share of the folded space's NDCG."""


class Age(NamedTuple):
    """What came since the fit. A listen is a pair of user and track, however often played.

    Attributes:
        listens: of all users and tracks, updates included.
        new_listens: of them, pairs that the factorised log doesn't have.
        share: of new listens in all.
        users: with a listen.
        new_users: of them, unknown to the factorisation.
        users_without_vector: of them, those who have no listen of a factorised track.
        tracks: with a listen.
        new_tracks: of them, unknown to the factorisation.
        tracks_without_vector: of them, those that no user of the factorisation has played.
    """

    listens: int
    new_listens: int
    share: float
    users: int
    new_users: int
    users_without_vector: int
    tracks: int
    new_tracks: int
    tracks_without_vector: int


class Comparison(NamedTuple):
    """The last update's listens, looked for by vectors that haven't seen them.

    Attributes:
        k: cut-off of NDCG.
        seed: of the users drawn, and of the order of equals.
        users: ranked for.
        users_of: number that they were drawn from: with a vector, and a listen to be found.
        candidates: tracks that are ranked; what a user has played before is left out.
        tracks: different tracks that are to be found.
        listens: pairs of user and track that are to be found.
        folded: mean NDCG of the folded space.
        refit: of a factorisation of all listens but the last update's.
        popularity: of the order by number of listeners.
        random: expected of a random order.
        gain: (refit − folded) / folded.
        gain_error: standard error of `gain` over users.
    """

    k: int
    seed: int
    users: int
    users_of: int
    candidates: int
    tracks: int
    listens: int
    folded: float
    refit: float
    popularity: float
    random: float
    gain: float
    gain_error: float


class Advice(NamedTuple):
    """Whether to factorise again, and why."""

    refit: bool
    reason: str


def age_of(base: Factors, current: Factors) -> Age:
    """How far factors with folded-in listens are from what was factorised."""
    listens = current.listens.nnz
    withheld = 0 if base.withheld is None or current is base else base.withheld.nnz
    new = listens - base.listens.nnz - withheld
    has_listens = np.diff(current.listens.indptr) > 0
    played = current.listens.getnnz(axis=0) > 0
    return Age(
        listens=listens,
        new_listens=new,
        share=new / listens if listens else 0.0,
        users=int(has_listens.sum()),
        new_users=len(current.user_ids) - len(base.user_ids),
        users_without_vector=int((has_listens & ~current.users.any(axis=1)).sum()),
        tracks=int(played.sum()),
        new_tracks=len(current.track_ids) - len(base.track_ids),
        tracks_without_vector=int((played & (current.listeners == 0)).sum()),
    )


def advice_of(age: Age, comparison: Comparison | None) -> Advice:
    """When to factorise again: a refit is measurably ahead, or much has come since."""
    if comparison is not None and comparison.gain > MAX_GAIN:
        lead = f"a refit is ahead by {comparison.gain:.1%} ± {comparison.gain_error:.1%}"
        if comparison.gain > 2 * comparison.gain_error:
            return Advice(True, f"{lead} in NDCG@{comparison.k}")
        if age.share <= MAX_NEW:
            return Advice(False, f"{lead}, which {comparison.users:,} users can't tell from chance")
    if age.share > MAX_NEW:
        return Advice(True, f"{age.share:.1%} of the listens came since the fit")
    measured = f", and a refit gains {comparison.gain:+.1%}" if comparison else ""
    return Advice(False, f"{age.share:.1%} of the listens came since the fit{measured}")


def compare_with_refit(
    base: Factors, earlier: pl.DataFrame, last: pl.DataFrame, seed: int = 0
) -> Comparison:
    """Rank the last update's listens by the folded space, and by a factorisation made anew.

    Both have seen the factorised log (with what was withheld) and the earlier updates. Relevant
    are listens of tracks that the user hadn't played before, of users and tracks with a vector in
    both.

    Args:
        base: as factorised.
        earlier: pairs of all updates but the last: user_id, track_id, plays or rating.
        last: pairs of the last one.
        seed: see `Comparison`.

    Raises:
        InputError: nothing is left to be found.
    """
    folded = fold_listens(base, earlier).factors
    refit = refitted(folded)
    candidates = np.flatnonzero(folded.tracks.any(axis=1) & refit.tracks.any(axis=1))
    played = folded.listens[:, candidates].tocsr()
    relevant = _new_pairs(folded, last, candidates, played)
    has_vector = folded.users.any(axis=1) & refit.users.any(axis=1)
    users = np.flatnonzero(has_vector & (np.diff(relevant.indptr) > 0))
    if not len(users):
        raise InputError(
            "compare_refit: the last update has no listen by a known user of a known track that "
            "the user hadn't played before, so there is nothing to compare by"
        )
    users_of = len(users)
    if users_of > MAX_USERS:
        drawn = np.random.default_rng(seed).choice(users, MAX_USERS, replace=False)
        users = np.sort(drawn)
    relevant, played = relevant[users], played[users]
    popularity = torch.from_numpy(played_by(folded)[candidates].astype(np.float32))
    ndcg = {
        name: ndcg_by_user(score, relevant, played, K, seed)
        for name, score in {
            "folded": _scores(folded, users, candidates),
            "refit": _scores(refit, users, candidates),
            "popularity": lambda rows: popularity.repeat(rows.stop - rows.start, 1),
        }.items()
    }
    mean = {name: float(by_user.mean()) for name, by_user in ndcg.items()}
    difference = ndcg["refit"] - ndcg["folded"]
    error = float(difference.std(ddof=1) / np.sqrt(len(users))) if len(users) > 1 else np.inf
    scale = mean["folded"] or 1e-9
    return Comparison(
        k=K,
        seed=seed,
        users=len(users),
        users_of=users_of,
        candidates=len(candidates),
        tracks=int((relevant.getnnz(axis=0) > 0).sum()),
        listens=relevant.nnz,
        folded=mean["folded"],
        refit=mean["refit"],
        popularity=mean["popularity"],
        random=float(expected_ndcg(relevant, played, K).mean()),
        gain=(mean["refit"] - mean["folded"]) / scale,
        gain_error=min(error / scale, 1e9),
    )


def refitted(folded: Factors) -> Factors:
    """All listens factorised anew, by the settings of the factorisation.

    Tracks that are new since then are factorised, too; held-out ones are folded in, as before.
    """
    held_out = folded.folded & (folded.split != "")
    order = np.argsort(held_out, kind="stable")
    listens = folded.listens[:, order].tocsr()
    matrices = Listens(
        matrix=listens,
        withheld=listens[:0],  # not read when solving
        user_ids=folded.user_ids,
        track_ids=[folded.track_ids[i] for i in order],
        split=folded.split[order],
        folded=held_out[order],
    )
    solution = solve(matrices, settings_of(folded.about))
    tracks = np.empty_like(solution.tracks)
    tracks[order] = solution.tracks
    return Factors(
        track_ids=folded.track_ids,
        user_ids=folded.user_ids,
        tracks=tracks,
        users=solution.users,
        folded=held_out,
        split=folded.split,
        listens=folded.listens,
        about=folded.about,
    )


def played_by(factors: Factors) -> NDArray[np.int64]:
    """[N] number of users who have played each track."""
    return np.asarray(factors.listens.getnnz(axis=0), dtype=np.int64)


def _new_pairs(
    factors: Factors, pairs: pl.DataFrame, candidates: NDArray[np.int64], played: csr_matrix
) -> csr_matrix:
    """[U, candidates] ones where a pair is of a known user and a candidate not played before."""
    place = np.full(len(factors.track_ids), -1, dtype=np.int64)
    place[candidates] = np.arange(len(candidates))
    users = places_of(pairs["user_id"], factors.user_ids).fill_null(-1).to_numpy()
    tracks = places_of(pairs["track_id"], factors.track_ids).fill_null(-1).to_numpy()
    column = np.where(tracks >= 0, place[tracks], -1)
    valid = (users >= 0) & (column >= 0)
    ones = np.ones(int(valid.sum()), dtype=np.float32)
    matrix = csr_matrix((ones, (users[valid], column[valid])), shape=played.shape)
    has_played = played.astype(bool).astype(np.float32)
    new = matrix - matrix.multiply(has_played)
    new = csr_matrix(new)
    new.eliminate_zeros()
    return new


def _scores(factors: Factors, users: NDArray[np.int64], candidates: NDArray[np.int64]) -> Scores:
    """Dot products of these users and tracks."""
    left = torch.from_numpy(factors.users[users])
    right = torch.from_numpy(factors.tracks[candidates])
    return lambda rows: left[rows] @ right.T


def ndcg_by_user(
    scores: Scores, relevant: csr_matrix, played: csr_matrix, k: int, seed: int
) -> NDArray[np.float64]:
    """NDCG of binary relevance for each user, what they have played left out.

    Args:
        scores: for a block of users, [block, N].
        relevant: [U, N]; each row has an entry.
        played: [U, N].
        k: cut-off.
        seed: of the order of equals.
    """

    def unplayed(rows: slice) -> Tensor:
        block = scores(rows)
        user, track = played[rows].nonzero()
        block[
            torch.from_numpy(user.astype(np.int64)), torch.from_numpy(track.astype(np.int64))
        ] = -torch.inf
        return block

    discount = 1 / np.log2(np.arange(2, k + 2))
    count = np.diff(relevant.indptr)
    ideal = discount.cumsum()[np.minimum(count, k) - 1]
    gained = np.zeros(len(count))
    users, candidates = relevant.shape
    for rows, best in top_k(unplayed, users, candidates, k, seed=seed, block_mb=BLOCK_MB):
        block = relevant[rows].tocoo()
        places = block.row.astype(np.int64) * candidates + block.col
        first = np.arange(len(best))[:, None] * candidates
        gained[rows] = np.isin(first + best.numpy(), places) @ discount[: best.shape[1]]
    return np.asarray(gained / ideal)


def expected_ndcg(relevant: csr_matrix, played: csr_matrix, k: int) -> NDArray[np.float64]:
    """The mean of `ndcg_by_user` over all orders of the candidates."""
    discount = np.append(0, (1 / np.log2(np.arange(2, k + 2))).cumsum())
    count = np.diff(relevant.indptr)
    candidates = relevant.shape[1] - np.diff(played.indptr)
    share = count / candidates
    return np.asarray(share * discount[np.minimum(candidates, k)] / discount[np.minimum(count, k)])
