"""How well a listener estimates attributes: a dot for each."""

from __future__ import annotations

from coldstart.reporting.charts import Dot, DotRow, dot_heights, dot_plot
from coldstart.reporting.page import DataTable, Picture, Section, number, picture
from coldstart.reporting.style import Size
from coldstart.summary.material import Material

MOST = 25
"""So many are drawn; the table has all."""


def attributes(material: Material) -> Section | None:
    """The section; None of a run that predicts something else, or wasn't tested."""
    about = material.results.about if material.results is not None else {}
    correlation: dict[str, float] = about.get("correlation") or {}
    if not correlation:
        return None
    names = sorted(correlation, key=lambda name: -correlation[name])
    rows = [DotRow(name, [Dot("estimated", "ours", correlation[name])]) for name in names[:MOST]]
    label = f"correlation with people's attributes, −1 to 1 (n = {about['tracks']:,} tracks)"
    drawn = Picture(
        "attributes",
        f"Correlations of {len(names)} attributes, from {number(correlation[names[0]])} to "
        f"{number(correlation[names[-1]])}.",
        lambda figure, narrow: dot_plot(
            figure, narrow, rows, label.replace(" (", "\n(") if narrow else label, zero=False
        ),
        Size(*dot_heights(len(rows))),
        "0 is no better than chance."
        + (f" Drawn are the best {MOST} of {len(names)}." if len(names) > MOST else ""),
        DataTable(["attribute", "correlation"], [[name, correlation[name]] for name in names]),
    )
    return Section("attributes", "Attribute by attribute", picture(drawn), [drawn])
