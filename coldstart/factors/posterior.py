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
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from coldstart.errors import InputError
from coldstart.factors.als import Array, solve_implicit
from coldstart.factors.factorization import FactorizationSettings, confidence_of

_BLOCK_BYTES = 1 << 27
"""Maximum size of a block of vectors."""


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
    >>> posterior(ratings, users, np.zeros(1), Evidence(1.0, 0.0), settings).round(4).tolist()
    [[1.5]]
    """
    rows, width = plays.tocsr(), other.shape[1]
    result = np.broadcast_to(np.asarray(prior, np.float32), (rows.shape[0], width)).copy()
    moved = np.flatnonzero(np.diff(rows.indptr))
    implicit = settings.algorithm == "implicit"
    unseen = evidence.unseen if implicit else 0.0
    common = np.zeros((width, width))
    if unseen and len(moved):
        common = unseen * (gram_of(other) if gram is None else gram)
    size = max(1, _BLOCK_BYTES // (4 * width))
    for start in range(0, len(moved), size):
        block = moved[start : start + size]
        part = rows[block]
        seen = np.unique(part.indices)  # the others have no part in what follows
        part, vectors = part[:, seen], other[seen]
        strength = confidence_of(part, settings) if implicit else part
        # The solver adds (c − 1) p pᵀ to the left side, and c p to the right one, for each entry
        # of weight c. So an entry weighs c − w + 1; and one more of each row, of weight 1, adds
        # nothing on the left, and on the right its vector: whatever is still lacking there.
        weight, target = part.copy(), part.copy()
        if implicit:
            weight.data = strength.data - np.float32(unseen - 1)
            target.data = strength.data * np.float32(evidence.value) - weight.data
        else:
            weight.data = np.full_like(part.data, 2.0)
            target.data = part.data - weight.data
        lacking = target @ vectors + np.float32(evidence.strength) * result[block]
        one = csr_matrix((np.ones(len(block), np.float32), (np.arange(len(block)),) * 2))
        try:
            result[block] = solve_implicit(
                hstack([weight, one], "csr"),
                np.concatenate([vectors, lacking.astype(np.float32)]),
                common.astype(np.float32),
                evidence.strength,
            )
        except ValueError as error:  # of LAPACK, through the library
            if "posv" not in str(error):
                raise
            raise InputError(
                f"with regularization {evidence.strength:g} the listens don't determine {width} "
                "factors; factorise with a larger --regularization"
            ) from error
    return result


def gram_of(vectors: Array) -> NDArray[np.float64]:
    """[N, K] → [K, K], Σ p pᵀ in float64, with memory that is flat in N."""
    blocks = np.array_split(vectors, max(1, vectors.nbytes // _BLOCK_BYTES))
    products = [block.T.astype(np.float64) @ block for block in blocks]
    return np.asarray(np.sum(products, axis=0), np.float64)
