"""The test's figures as a dot plot: the model, simple rivals, floors."""

from __future__ import annotations

from coldstart.evaluation.evaluate import OURS, PATCHES, PREDICTED
from coldstart.evaluation.lists import ListFigures
from coldstart.evaluation.results import Results, Row, plain_method
from coldstart.evaluation.tables import RANKED_BY, lists_caption
from coldstart.reporting.charts import Dot, DotRow, Role, dot_heights, dot_plot
from coldstart.reporting.page import (
    DataTable,
    Picture,
    Section,
    TableCell,
    details,
    number,
    paragraph,
    picture,
    table,
    together,
)
from coldstart.reporting.style import Size
from coldstart.summary.answer import FLOORS
from coldstart.summary.material import Material

SERIES: dict[Role, str] = {"ours": "this model", "rival": "simple rivals", "floor": "floors"}

MEANING = {
    "random": "any order",
    "artist's popularity": "plays of the artist's known tracks, the same for everybody",
    "popularity": "plays of known tracks, the same for everybody",
    "shuffled content": "the model's own places, given to other tracks",
    "content profile": "the mean content of what a listener played",
    "item neighbours": "content like that of single tracks a listener played",
    "20 nearest neighbours": "the places of the known tracks with the nearest content",
    "ridge": "a linear regression from content to places",
    PATCHES: "the same weights, hearing one patch of each track",
    PREDICTED: "the same model, without what makes new and known tracks comparable",
    OURS: "the model of this run",
}
"""Method → what it does, in few words."""


def role_of(method: str) -> Role:
    """How a method's dot looks."""
    if method in (OURS, PATCHES, PREDICTED):
        return "ours"
    return "floor" if method in FLOORS else "rival"


def methods(material: Material) -> Section | None:
    """The section of the test on new tracks alone."""
    if material.results is None or not material.results.rows:
        return None
    return _section(material.results, "rivals", "Beside floors and simple rivals")


def mixed_methods(material: Material) -> Section | None:
    """The section of the test on new and known tracks in one list."""
    if material.mixed is None or not material.mixed.rows:
        return None
    return _section(material.mixed, "mixed", "New and known tracks in one list")


def _section(results: Results, name: str, title: str) -> Section:
    about, rows = results
    drawn = _picture(about, rows, name)
    intro = (
        "Every method got the same tracks, the same listeners and, but for the floors, the same "
        "content; what had to be chosen was chosen on validation tracks. A figure means something "
        "only beside the others."
    )
    if "lengths" in about:
        intro += (
            f" Here {about['cold_candidates']:,} new tracks stand among "
            f"{about['warm_candidates']:,} known ones, ranked by {RANKED_BY[about['lengths']]}."
        )
    body = [paragraph(intro), picture(drawn)]
    lists = _lists(rows)
    if lists is not None:
        said = paragraph(f"{lists_caption().capitalize()}.", "note")
        body.append(details("What their lists are like", together([table(lists), said])))
    return Section(name, title, together(body), [drawn])


def _lists(rows: list[Row]) -> DataTable | None:
    """What the methods' lists are like beside their accuracy; None if it wasn't measured."""
    names = [n for n in ListFigures._fields if any(getattr(row, n) is not None for row in rows)]
    if not names:
        return None
    ranked = sorted(rows, key=lambda row: -(row.ndcg or 0.0))
    cells: list[list[TableCell]] = [
        [row.method, *(getattr(row, name) for name in names)] for row in ranked
    ]
    return DataTable(["method", *names], cells)


def _picture(about: dict[str, object], rows: list[Row], name: str) -> Picture:
    ranked = sorted(rows, key=lambda row: -(row.ndcg or 0.0))
    figure = f"NDCG@{about['k']}"
    plotted = [
        DotRow(
            label_of(row.method),
            [
                Dot(
                    SERIES[role_of(row.method)], role_of(row.method), row.ndcg or 0.0,
                    row.ndcg_low, row.ndcg_high,
                )
            ],
        )
        for row in ranked
    ]  # fmt: skip
    first = ranked[0]
    counted = f"n = {about['users']:,} listeners, {about['candidates']:,} tracks"
    label = f"{figure}, 0 to 1, and its 95 % interval ({counted})"
    short = f"{figure}, 0 to 1, and its 95 % interval\n({counted})"
    cells: list[list[TableCell]] = [
        [
            row.method,
            MEANING.get(plain_method(row.method), ""),
            row.input,
            row.ndcg,
            f"{number(row.ndcg_low)} to {number(row.ndcg_high)}",
            row.recall,
            row.map,
            row.coverage,
            row.gini,
        ]
        for row in ranked
    ]
    headers = ["method", "what it does", "input", figure, "95 %", f"Recall@{about['k']}"]
    headers += [f"MAP@{about['map_k']}", "coverage", "Gini"]
    return Picture(
        name,
        f"{figure} of {len(rows)} methods, best first: "
        + "; ".join(f"{label_of(row.method)} {number(row.ndcg)}" for row in ranked),
        lambda drawing, narrow: dot_plot(drawing, narrow, plotted, short if narrow else label),
        Size(*dot_heights(len(plotted))),
        f"The best is {label_of(first.method)}. Bars are 95 % intervals, by bootstrap over the "
        "listeners; what overlaps may still differ, for all methods had the same listeners.",
        DataTable(headers, cells),
    )


def label_of(method: str) -> str:
    """A method's name in a picture.

    >>> label_of("coldstart"), label_of("ridge (λ = 10)")
    ('this model', 'ridge')
    """
    return SERIES["ours"] if method == OURS else plain_method(method)
