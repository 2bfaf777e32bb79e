"""Columns of attributes that are in another unit than their table: milliseconds beside grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FACTOR = 10.0
"""A column is in another unit if spread and range are so many times those of a typical column."""

FACTOR_OF_SHARES = 5.0
"""The same beside columns within −1 and 1, whose unit is known."""

GAP = 3.0
"""Spreads of one unit, sorted, lie closer together than this; else a large one is only that."""

SKEWNESS = 2.0
TAIL = 20.0
"""Counts whose skewness is above the first, and of which the largest is so many times the median,
are heavy-tailed."""


class _Columns(NamedTuple):
    """What is known of F columns, each [F].

    Attributes:
        spread: standard deviation.
        range: maximum − minimum.
        shares: between −1 and 1.
        sparse: never below 0, and 0 for a tenth of the tracks or more.
        flags: nothing but 0 and 1.
        centred: on 0, compared with the spread, as components of a vector and z-scores are.
    """

    spread: NDArray[np.float64]
    range: NDArray[np.float64]
    shares: NDArray[np.bool_]
    sparse: NDArray[np.bool_]
    flags: NDArray[np.bool_]
    centred: NDArray[np.bool_]

    def at(self, columns: NDArray[np.bool_]) -> _Columns:
        """Some of them."""
        return _Columns(
            spread=self.spread[columns],
            range=self.range[columns],
            shares=self.shares[columns],
            sparse=self.sparse[columns],
            flags=self.flags[columns],
            centred=self.centred[columns],
        )


def units_of(names: Sequence[str], values: NDArray[np.floating[Any]]) -> dict[str, dict[str, Any]]:
    """The columns in another unit than the table, and how each is scaled by itself.

    The table's typical column is the median one of those within −1 and 1, if a quarter of the
    columns are; else the median of all. A column is in another unit if its spread and its range
    are both many times those, unless most columns are of its kind: tag counts, which are 0 for
    most tracks, and components of a vector, which are centred, differ as much in one unit.

    Args:
        names: of the columns.
        values: [tracks, columns], of training tracks.

    Returns:
        Column → `spread`, by which it is divided, and `mean`; both of log(1 + value) if `log` is
        true, as it is of heavy-tailed counts. Empty for a table of one unit.

    Examples:
        >>> grades = np.random.default_rng(0).random((50, 3))
        >>> units_of(["a", "b", "c"], grades)
        {}
        >>> list(units_of(["a", "b", "ms"], grades * [1, 1, 300_000]))
        ['ms']
    """
    numbers = np.asarray(values, dtype=np.float64)
    outside = _outside(_described(numbers))
    return {names[i]: _scale(numbers[:, i]) for i in np.flatnonzero(outside).tolist()}


def small_columns(
    names: Sequence[str], values: NDArray[np.floating[Any]], units: Sequence[str]
) -> list[str]:
    """Columns whose unit may be smaller than that of the table: shares beside percents.

    Rare attributes look the same, and must stay small, so these are only worth a word.
    """
    columns = _described(np.asarray(values, dtype=np.float64))
    inside = np.array([name not in units for name in names]) & (columns.range > 0)
    if inside.sum() < 3:
        return []
    others = columns.at(inside)
    small = inside & ~columns.sparse & columns.shares
    small &= columns.spread * FACTOR < _median(others.spread)
    small &= columns.range * FACTOR < _median(others.range)
    above = columns.spread[inside & ~small].min(initial=np.inf)
    small &= columns.spread * FACTOR < above
    return [names[i] for i in np.flatnonzero(small).tolist()]


def dominant_columns(vectors: Sequence[NDArray[np.floating[Any]]]) -> list[int]:
    """Columns of embeddings whose spread and range are a hundred times the typical ones.

    Nets' own vectors have columns of ten or thirty times the spread, and must keep them.
    """
    columns = _described(np.stack(vectors).astype(np.float64))
    varies = columns.at(columns.range > 0)
    if not len(varies.spread):
        return []
    large = (columns.spread > 100 * _median(varies.spread)) & ~columns.centred
    large &= columns.range > 100 * _median(varies.range)
    return [int(column) for column in np.flatnonzero(large)]


def _described(values: NDArray[np.float64]) -> _Columns:
    least, most = values.min(axis=0), values.max(axis=0)
    spread = np.where(most > least, values.std(axis=0), 0.0)
    error = min(1.0, max(0.25, 5 / len(values) ** 0.5))  # five standard errors of a mean
    return _Columns(
        spread=spread,
        range=most - least,
        shares=(least >= -1) & (most <= 1),
        sparse=(least == 0) & ((values == 0).mean(axis=0) >= 0.1),
        flags=((values == 0) | (values == 1)).all(axis=0),
        centred=(least < 0) & (most > 0) & (np.abs(values.mean(axis=0)) <= spread * error),
    )


def _outside(columns: _Columns) -> NDArray[np.bool_]:
    """[F]: which columns are in another unit."""
    varies = columns.range > 0
    counts = columns.sparse & ~columns.flags
    immune = columns.shares.copy()
    if counts.sum() >= max(4, varies.sum() / 4):
        immune |= columns.sparse
    if columns.centred.sum() > varies.sum() / 2:
        immune |= columns.centred
    outside = np.zeros_like(varies)
    shares = columns.shares & varies
    if shares.sum() >= max(2, varies.sum() / 4):
        typical = columns.at(shares)
        large = columns.spread > FACTOR_OF_SHARES * _median(typical.spread)
        large &= columns.range > FACTOR_OF_SHARES * _median(typical.range)
        return np.asarray(large & ~immune)
    while True:  # without the largest, another column may be found to be too large
        inside = columns.at(varies & ~outside)
        if not len(inside.spread):
            return outside
        large = columns.spread >= max(FACTOR * _median(inside.spread), _first_gap(inside.spread))
        large &= columns.range > FACTOR * _median(inside.range)
        more = large & varies & ~outside & ~immune
        if not more.any():
            return outside
        outside |= more


def _median(values: NDArray[np.float64]) -> float:
    """The lower median, so that of two units with a column each the smaller one is typical."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def _first_gap(spread: NDArray[np.float64]) -> float:
    """The spread after the first gap above the median; infinite without one."""
    ordered = np.sort(spread)[(len(spread) - 1) // 2 :]
    after = ordered[1:][ordered[1:] >= GAP * ordered[:-1]]
    return float(after[0]) if len(after) else np.inf


def _scale(values: NDArray[np.float64]) -> dict[str, Any]:
    """How a column is scaled by itself."""
    log = _heavy_tailed(values)
    if log:
        values = np.log1p(values)
    return {"log": log, "mean": float(values.mean()), "spread": float(values.std())}


def _heavy_tailed(values: NDArray[np.float64]) -> bool:
    """Whether these are counts of which a few are much larger than the others."""
    if values.min() < 0 or (values != np.round(values)).any():
        return False
    deviations = (values - values.mean()) / values.std()
    tail = (values.max() + 1) / (np.median(values) + 1)
    return bool((deviations**3).mean() > SKEWNESS and tail >= TAIL)
