"""The warm-up curve: how content and plays compare while a track is becoming known."""

from __future__ import annotations

from coldstart.evaluation.warm_up import BLEND, CONTENT, ENSEMBLE
from coldstart.reporting.page import (
    DataTable,
    Picture,
    Section,
    TableCell,
    number,
    paragraph,
    picture,
    together,
)
from coldstart.reporting.pictures import WARM_UP_SIZE, Point, draw_warm_up
from coldstart.summary.material import Material


def warm_up(material: Material) -> Section | None:
    """The section; None where it wasn't measured."""
    if material.warm_up is None:
        return None
    about, rows = material.warm_up
    curves: dict[str, list[Point]] = {}
    leads: dict[str, list[Point]] = {}
    for row in rows:
        point = Point(row.plays, row.ndcg, row.ndcg_low, row.ndcg_high)
        curves.setdefault(row.method, []).append(point)
        if row.method in (CONTENT, BLEND):
            lead = (row.ensemble_ahead or 0.0, row.ahead_low or 0.0, row.ahead_high or 0.0)
            leads.setdefault(row.method, []).append(Point(row.plays, *lead))
    ours = {row.plays: row for row in rows if row.method == ENSEMBLE}
    first, last = min(ours), max(ours)
    users = [row.users for row in rows]
    cells: list[list[TableCell]] = [
        [
            row.plays,
            row.method,
            row.ndcg,
            f"{number(row.ndcg_low)} to {number(row.ndcg_high)}",
            row.ensemble_ahead,
            "–" if row.ahead_low is None else f"{row.ahead_low:+.4f} to {row.ahead_high:+.4f}",
            row.users,
        ]
        for row in rows
    ]
    headers = ["plays", "method", "NDCG@20", "95 %", "ensemble ahead", "95 % ", "listeners"]
    drawn = Picture(
        "warm_up",
        f"NDCG@20 by the number of plays that are known, from {first} to {last}: the ensemble has "
        f"{number(ours[first].ndcg)} at {first} and {number(ours[last].ndcg)} at {last} plays. "
        "Beneath, how far it is ahead of content alone and of a blend of both scores.",
        lambda figure, narrow: draw_warm_up(figure, narrow, curves, leads),
        WARM_UP_SIZE,
        f"{about['tracks']:,} test tracks, n = {min(users):,} to {max(users):,} listeners of the "
        f"plays that aren't shown, mean of {about['draws']} draws; bands are 95 % intervals by "
        f"bootstrap over listeners. {about['protocol']}; seed {about['seed']}. At higher counts "
        "fewer tracks have plays left, so columns don't compare with one another.",
        DataTable(headers, cells),
    )
    intro = (
        "A new track is placed by its content; as people play it, the ensemble moves it to where "
        "its plays put it. Above, each way by itself; below, what the ensemble gains."
    )
    body = together([paragraph(intro), picture(drawn)])
    return Section("warm-up", "As a new track gets played", body, [drawn])
