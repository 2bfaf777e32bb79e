"""Results for people: Markdown tables, and the text beneath them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from tabulate import tabulate

from coldstart.evaluation.lists import ListFigures
from coldstart.evaluation.metrics import K
from coldstart.evaluation.results import FEW_USERS, HEADERS, REPEATS, Row, too_few
from coldstart.factors.sparsity import factors_to_spare

COLUMNS = 100
"""Of text for a terminal."""

MAIN = ("method", "input", "cosine", "recall", "ndcg", "map")
"""Columns of the first table."""

PARTS = ("ndcg_head", "ndcg_middle", "ndcg_tail", "ndcg_cold", "ndcg_warm")

SPREAD = ("method", "input", *PARTS, "new_share", "coverage", "gini")
"""Columns of the second table."""

LISTS = ("method", "input", *ListFigures._fields)
"""Columns of the third table."""

RANKED_BY = {
    "ensemble": "dot product, cold ones so that equal scores say the same",
    "unit": "cosine",
    "typical": "dot product, cold ones of a typical length",
    "own": "dot product",
}
"""`lengths` of mixed candidates → what ranks them, in words."""


def text_of(about: dict[str, Any], rows: list[Row], form: str = "github") -> str:
    """All tables with what stands beneath them: as Markdown, or in `simple` form for a terminal."""
    parts = (
        (table(rows, form), caption(about)),
        (spread_table(rows, form), spread_caption(about)),
        (lists_table(rows, form), lists_caption()),
    )
    return "\n\n".join(f"{cells}\n{_wrapped(below, form)}" for cells, below in parts)


def _wrapped(text: str, form: str) -> str:
    """Lines for a terminal; Markdown needs none."""
    if form == "github":
        return text
    return "\n".join(fill(line, COLUMNS, break_on_hyphens=False) for line in text.splitlines())


def table(rows: list[Row], form: str = "github") -> str:
    """The rows as a Markdown table, without columns that are empty throughout.

    Of the intervals, NDCG's; results.json has the others too.
    """
    columns = _filled(rows, MAIN)
    headers = [HEADERS[name] for name in columns]
    cells = [[getattr(row, name) for name in columns] for row in rows]
    if any(row.ndcg_low is not None for row in rows):
        after_ndcg = columns.index("ndcg") + 1
        headers.insert(after_ndcg, "95 %")
        for row, cells_of_row in zip(rows, cells, strict=True):
            cells_of_row.insert(after_ndcg, f"{row.ndcg_low:.3f}–{row.ndcg_high:.3f}")
    return _tabulated(cells, headers, form)


def spread_table(rows: list[Row], form: str = "github") -> str:
    """A second table: by parts of the candidates, and who is recommended at all."""
    return _table(rows, SPREAD, form)


def lists_table(rows: list[Row], form: str = "github") -> str:
    """A third table: what a user's list is like, beside its accuracy."""
    return _table(rows, LISTS, form)


def _table(rows: list[Row], names: Sequence[str], form: str) -> str:
    columns = _filled(rows, names)
    if form != "github":
        columns = [name for name in columns if name != "input"]  # as in the first table
    cells = [[getattr(row, name) for name in columns] for row in rows]
    return _tabulated(cells, [HEADERS[name] for name in columns], form)


def _tabulated(cells: list[list[Any]], headers: list[str], form: str) -> str:
    """A table; for a terminal with headers in two lines where they are long."""
    if form != "github":  # Markdown has no such headers
        headers = [
            re.sub(r" | ?(?=@\d+$)", "\n", name, count=1) if len(name) > 9 else name
            for name in headers
        ]
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def _filled(rows: list[Row], names: Sequence[str]) -> list[str]:
    """The columns that are not empty throughout."""
    return [name for name in names if any(getattr(row, name) is not None for row in rows)]


def caption(about: dict[str, Any]) -> str:
    """The text under the first table: what its figures must be read with."""
    left_out = f"{about['users_without_relevant']:,} without one"
    if about["users_without_training_listens"]:
        left_out += f" and {about['users_without_training_listens']:,} without training listens"
    tracks = f"{about.get('cold_candidates', about['candidates']):,} cold candidates"
    if "warm_candidates" in about:
        tracks += f" among {about['warm_candidates']:,} warm ones, by {RANKED_BY[about['lengths']]}"
    if about["tracks_nothing_known"]:
        tracks += f" ({about['tracks_nothing_known']:,} have none of the model's inputs)"
    return (
        f"{_notes(about)}{_comparison(about)}{_unknown(about)}"
        f"{tracks}; {about['users']:,} users with a relevant one "
        f"({left_out} are not averaged);\n"
        f"cosine distance over the {about['tracks_with_vector']:,} candidates that were played, to "
        f"{about['yardstick']};\n"
        f"{about['protocol']}; shuffled: mean of {REPEATS} draws; seed {about['seed']}"
    )


def _unknown(about: Mapping[str, Any]) -> str:
    """What the users without a training listen would get; empty without such users."""
    found = about.get("strangers")
    if not found or found["users"] < FEW_USERS:
        return ""
    return (
        f"{HEADERS['ndcg']} for {found['users']:,} users without training listens, one list for "
        f"all: the mean listener's {found['ndcg_model']:.3f}, by the artist's popularity "
        f"{found['ndcg_popularity']:.3f}, random {found['ndcg_random']:.3f}\n"
    )


def _notes(about: Mapping[str, Any]) -> str:
    """What makes the figures say little, a line each."""
    notes = []
    if chance := about.get("chance"):
        figures = " and ".join(f"{HEADERS[name]} {value:.3f}" for name, value in chance.items())
        notes.append(
            f"chance alone, a random order, has {figures} with these {about['candidates']:,} "
            "candidates: such figures say little; test on more tracks"
        )
    factors = about.get("factors", {})
    if "tracks_factorised" in factors:
        users = factors["users"] - factors.get("users_without_training_listens", 0)
        notes.append(factors_to_spare(factors["tracks_factorised"], users, factors["factors"]))
    return "".join(f"note: {note}\n" for note in notes if note)


def _comparison(about: Mapping[str, Any]) -> str:
    """The model beside the best rival, in a line of its own; empty without users."""
    beside: dict[str, Any] | None = about["beside_the_best_rival"]
    if beside is None:
        return ""
    if few := too_few(about):
        return (
            f"{HEADERS[beside['figure']]} beside {beside['rival']}: {beside['mean']:+.3f}; {few}\n"
        )
    chance = f", p = {beside['p']:.2g} by flipping signs" if "p" in beside else ""
    return (
        f"{HEADERS[beside['figure']]} beside {beside['rival']}: {beside['mean']:+.3f}, "
        f"95 % {beside['low']:+.3f} to {beside['high']:+.3f} (bootstrap over users, paired"
        f"{chance}; this split and seed alone)\n"
    )


def spread_caption(about: dict[str, Any]) -> str:
    """The text under the second table."""
    parts = about["parts"]
    text = ", ".join(
        f"{name} {part['candidates']:,} candidates ({part['users']:,} users)"
        for name, part in parts.items()
    )
    if "head" in parts:
        text += ": the most played third of the candidates' listens, the next, the last"
    else:
        text += "; a user's own training listens are left out of the ranking"
    new = f"new: share of cold ones among users' first {K}; " if "warm" in parts else ""
    if numbers := about.get("ensemble"):
        new = (
            f"{numbers['ahead']:.2f} of a known track's plays are taken to be still to come: "
            f"scores of new tracks × {numbers['length']:.2f} {numbers['offset']:+.2f};\n{new}"
        )
    return (
        f"{text};\n{new}"
        f"coverage: share of the candidates among some user's first {K}; Gini: 0 if all are there "
        f"equally often"
    )


def lists_caption() -> str:
    """The text under the third table."""
    return (
        f"means over users' first {K}; novelty: bits of surprise of a track, by the share of "
        "listeners who played it; popularity: its listeners, as a multiple of the candidates' "
        "mean; diversity: cosine distance between the genres of two tracks; miscalibration: bits "
        "that the list's genres are away from the user's, 0 is best; serendipity: share that is "
        f"relevant and not among the {K} most played candidates"
    )


def in_seeds(ahead: int, seeds: int) -> str:
    """In how many seeds a model isn't behind another one, in words.

    >>> in_seeds(0, 2), in_seeds(2, 3), in_seeds(1, 1)
    ('behind in both seeds', 'level or ahead in 2 of 3 seeds', 'level or ahead in its one seed')
    """
    every = {1: "its one seed", 2: "both seeds"}.get(seeds, f"all {seeds} seeds")
    if ahead == 0:
        return f"behind in {every}"
    return f"level or ahead in {every if ahead == seeds else f'{ahead} of {seeds} seeds'}"
