"""Vectors from two sources: what is expected beforehand (the prior), and plays (the evidence).

Of a track i, with the users' vectors p_u held fixed, the vector is

    q = argmin Σ_u∈plays c_u (r − q·p_u)²  +  w Σ_u∉plays (q·p_u)²  +  λ ‖q − q̂‖²

where q̂ is the prior, c_u the confidence of a play, r what a play says, and w the weight of those
who haven't played it. It is solved in closed form. With q̂ = 0, r = 1 and w = 1 it is a half-step of
implicit ALS (Hu, Koren, Volinsky, ICDM 2008); with the content's prediction as q̂, collaborative
topic regression (Wang and Blei, KDD 2011). Of users it is the same, with the tracks held fixed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.errors import InputError
from coldstart.factors.als import Array
from coldstart.factors.factorization import FactorizationSettings, confidence_of

_BLOCK_BYTES = 1 << 27
"""Maximum size of a block of systems."""


class Evidence(NamedTuple):
    """How much plays count against the prior.

    Attributes:
        strength: λ.
        unseen: w, from 0 to 1; of ratings 0.
        value: r; of ratings each is its own.
    """

    strength: float
    unseen: float = 1.0
    value: float = 1.0


def posterior(
    plays: csr_matrix,
    other: Array,
    prior: NDArray[np.floating],
    evidence: Evidence,
    settings: FactorizationSettings,
    gram: NDArray[np.float64] | None = None,
) -> Array:
    """Solve vectors from their plays and their priors; see the module.

    Rows without plays keep their prior, whatever `unseen` is: nobody has been asked yet.

    Args:
        plays: [N, U] sparse, plays or ratings.
        other: [U, K] the other side's vectors, in the axes of the factorisation.
        prior: [N, K] or [K], in the same axes.
        evidence: how much plays count.
        settings: of the factorisation: what a play weighs.
        gram: [K, K] Σ p pᵀ over all that `unseen` counts for; by default over `other`.

    Returns:
        [N, K] float32.

    Raises:
        InputError: λ is 0, or so small that plays don't determine a vector.

    >>> from coldstart.factors.folding import settings_of
    >>> about = {"algorithm": "explicit", "factors": 1, "regularization": 1, "seed": 0}
    >>> settings = settings_of({**about, "iterations": 1})
    >>> ratings = csr_matrix(np.float32([[3.0, 0.0]]))
    >>> users = np.float32([[1.0], [1.0]])
    >>> posterior(ratings, users, np.zeros(1), Evidence(1.0, 0.0), settings).tolist()
    [[1.5]]
    """
    rows = plays.tocsr()
    count, width = rows.shape[0], other.shape[1]
    result = np.broadcast_to(np.asarray(prior, np.float32), (count, width)).copy()
    entries = np.diff(rows.indptr)
    with_plays = np.flatnonzero(entries)
    if not len(with_plays):
        return result
    common = evidence.strength * np.eye(width)
    implicit = settings.algorithm == "implicit"
    if implicit and evidence.unseen:
        common = common + evidence.unseen * (gram_of(other) if gram is None else gram)
    try:
        system, vectors = _System.of(common), torch.from_numpy(other)
    except torch.linalg.LinAlgError as error:
        raise InputError(
            f"with regularization {evidence.strength:g} the listens don't determine {width} "
            "factors; factorise with a larger --regularization"
        ) from error
    # Rows with about equally many plays are solved together: their systems have one shape.
    order = with_plays[np.argsort(entries[with_plays], kind="stable")]
    start = 0
    while start < len(order):
        block = order[start : _end(entries[order], start, width)]
        part = rows[block]
        weight, target = _targets(part, evidence, settings, implicit)
        base = torch.from_numpy(evidence.strength * result[block].astype(np.float64))
        result[block] = _solved(part, vectors, base, weight, target, system).float().numpy()
        start += len(block)
    return result


def gram_of(vectors: Array) -> NDArray[np.float64]:
    """[N, K] → [K, K], Σ p pᵀ in float64, with memory that is flat in N."""
    blocks = np.array_split(vectors, max(1, vectors.nbytes // _BLOCK_BYTES))
    products = [block.T.astype(np.float64) @ block for block in blocks]
    return np.asarray(np.sum(products, axis=0), np.float64)


class _System(NamedTuple):
    """What the systems of all rows have in common.

    Attributes:
        common: [K, K] A: what they are without plays.
        whitening: [K, K] W, of which A⁻¹ = W Wᵀ.
    """

    common: Tensor
    whitening: Tensor

    @classmethod
    def of(cls, common: NDArray[np.float64]) -> _System:
        root = torch.linalg.cholesky(torch.from_numpy(common))
        eye = torch.eye(len(common), dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(root, eye, upper=False)
        return cls(torch.from_numpy(common), inverse.mT.contiguous())


def _end(entries: NDArray[np.int64], start: int, width: int) -> int:
    """The end of a block of rows: about equally many entries each, and bounded memory."""
    few = max(8, int(entries[start] * 1.25))
    end = int(np.searchsorted(entries, few, side="right"))
    longest = int(entries[end - 1])
    bytes_of_row = 8 * (longest * width * 2 + min(longest, width) ** 2 * 2)
    return min(end, start + max(1, _BLOCK_BYTES // bytes_of_row))


def _targets(
    rows: csr_matrix, evidence: Evidence, settings: FactorizationSettings, implicit: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each entry: c − w, by which it is heavier than one that nobody has played; and c r."""
    if not implicit:
        ratings = rows.data.astype(np.float64)
        return np.ones_like(ratings), ratings
    confidence = confidence_of(rows, settings).data.astype(np.float64)
    return confidence - evidence.unseen, confidence * evidence.value


def _solved(
    rows: csr_matrix,
    other: Tensor,
    base: Tensor,
    weight: NDArray[np.float64],
    target: NDArray[np.float64],
    system: _System,
) -> Tensor:
    """Solve (A + Σ weight p pᵀ) q = base + Σ target p for each row of a block.

    The systems are as large as the number of entries, or of factors, whichever is less: with
    v = Wᵀp and q = W x it is (I + Σ weight v vᵀ) x = Wᵀ(base + Σ target p), of which Woodbury's
    identity needs only the products of the entries' v.
    """
    count, width = base.shape
    lengths = np.diff(rows.indptr)
    longest = int(lengths.max())
    row = torch.from_numpy(np.repeat(np.arange(count), lengths))
    place = torch.from_numpy(np.arange(len(row)) - np.repeat(rows.indptr[:-1], lengths))
    entries = other[torch.from_numpy(rows.indices.astype(np.int64))].double()
    targets = torch.zeros(count, 1, longest, dtype=torch.float64)
    targets[row, 0, place] = torch.from_numpy(target)
    weights = torch.zeros(count, longest, 1, dtype=torch.float64)
    weights[row, place, 0] = torch.from_numpy(weight)
    few = longest <= width and (weight > 0).all()
    values = torch.zeros(count, longest, width, dtype=torch.float64)
    values[row, place] = entries @ system.whitening if few else entries
    if not few:
        right = base[:, :, None] + (targets @ values).mT
        inner = system.common + values.mT @ (values * weights)
        return torch.cholesky_solve(right, torch.linalg.cholesky(inner))[:, :, 0]
    right = (base @ system.whitening)[:, :, None] + (targets @ values).mT
    sides = values * weights.sqrt()
    inner = torch.eye(longest, dtype=torch.float64) + sides @ sides.mT
    known = torch.cholesky_solve(sides @ right, torch.linalg.cholesky(inner))
    return (right - sides.mT @ known)[:, :, 0] @ system.whitening.mT
