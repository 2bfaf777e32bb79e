"""The answer: whether the model is ahead of the best simple rival, how sure, and on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coldstart.evaluation.results import Row, plain_method, too_few
from coldstart.reporting.charts import Dot, DotRow, dot_plot
from coldstart.reporting.page import (
    DataTable,
    Html,
    Picture,
    Section,
    escaped,
    number,
    paragraph,
    percent,
    picture,
    together,
)
from coldstart.reporting.style import Size
from coldstart.summary.material import Material

FLOORS = ("random", "artist's popularity", "shuffled content", "popularity")
"""Methods that know nothing of the content, or of the listener."""


class Lead(NamedTuple):
    """A figure beside the best rival's.

    Attributes:
        figure: such as `NDCG@20`.
        rival: its name.
        mean: the difference.
        low: lower end of its interval.
        high: upper end.
        p: by flipping signs; None: not known.
    """

    figure: str
    rival: str
    mean: float
    low: float
    high: float
    p: float | None

    @classmethod
    def of(cls, beside: Mapping[str, Any], figure: str) -> Lead:
        """From `beside_the_best_rival` of results."""
        mean, low, high = (float(beside[key]) for key in ("mean", "low", "high"))
        return cls(figure, str(beside["rival"]), mean, low, high, beside.get("p"))

    @property
    def name(self) -> str:
        """The rival without its settings."""
        return plain_method(self.rival)

    def headline(self) -> str:
        """What it comes to, with no more certainty than there is.

        >>> Lead("NDCG@20", "ridge", 0.02, 0.01, 0.03, None).headline()
        'Ahead of the best simple rival by 0.020 NDCG@20'
        >>> Lead("NDCG@20", "ridge", 0.02, -0.01, 0.03, None).headline()
        'Not sure to be ahead of the best simple rival'
        >>> Lead("NDCG@20", "random", -0.02, -0.03, -0.01, None).headline()
        'Behind a floor, random order, by 0.020 NDCG@20'
        """
        name, best = self.name, "the best simple rival"
        if name in FLOORS:
            best = f"a floor, {'random order' if name == 'random' else name},"
        if self.low > 0:
            return f"Ahead of {best} by {self.mean:.3f} {self.figure}"
        if self.high < 0:
            return f"Behind {best} by {-self.mean:.3f} {self.figure}"
        return f"Not sure to be ahead of {best.rstrip(',')}"

    def sentence(self, method: str, own: float | None, rivals: float | None) -> str:
        """The same with all its numbers."""
        sure = (
            f"In 95 % of 1,000 draws of the listeners the difference lies between "
            f"{_signed(self.low)} and {_signed(self.high)}"
        )
        if self.low <= 0 <= self.high:
            sure += ", so it may as well be none"
        chance = f" (p = {self.p:.2g}, by flipping signs)" if self.p is not None else ""
        return (
            f"{method} has {number(own)} {self.figure}, {self.name} has {number(rivals)}: a "
            f"difference of {_signed(self.mean)}. {sure}{chance}."
        )

    def picture(self, counted: str, scope: str) -> Picture:
        """The difference and its interval, beside 0.

        Args:
            counted: n, for the axis.
            scope: what the interval speaks of.
        """
        rows = [
            DotRow(
                f"this model minus {self.name}",
                [Dot("difference", "ours", self.mean, self.low, self.high)],
            )
        ]
        label = f"difference in {self.figure}, with its 95 % interval ({counted})"
        return Picture(
            "answer",
            f"The difference to {self.name} in {self.figure} is {_signed(self.mean)}, with a 95 % "
            f"interval from {_signed(self.low)} to {_signed(self.high)}; a line marks 0.",
            lambda figure, narrow: dot_plot(
                figure, narrow, rows, _broken(label) if narrow else label, signed=True
            ),
            Size(0.95, 1.35),
            "Right of the line the model is ahead. The interval is of a paired bootstrap over the "
            f"listeners: it speaks of {scope} alone.",
            DataTable(
                ["beside", "difference", "95 % from", "to"],
                [[self.rival, self.mean, self.low, self.high]],
            ),
        )


def _broken(label: str) -> str:
    return label.replace(", with", ",\nwith").replace(" (", "\n(")


def _signed(value: float) -> str:
    """With a sign, as a difference has one.

    >>> _signed(0.0123), _signed(-0.5)
    ('+0.012', '−0.500')
    """
    return f"{value:+.3f}".replace("-", "−")


def facts(cells: Sequence[tuple[str, str, str]]) -> Html:
    """Large numbers: what each is, the number, and what more must be known."""
    return Html(
        "<dl class=facts>"
        + "".join(
            f"<div><dt>{escaped(name)}</dt><dd class=value>{escaped(value)}</dd>"
            f"<dd class=more>{escaped(more)}</dd></div>"
            for name, value, more in cells
        )
        + "</dl>"
    )


def warnings_of(about: Mapping[str, Any]) -> list[Html]:
    """What makes the figures say less than they seem to."""
    found = []
    if chance := about.get("chance"):
        names = " and ".join(f"{key} {value:.3f}" for key, value in chance.items())
        found.append(
            f"Chance alone, a random order, has {names} with these {about['candidates']:,} "
            "candidates, so such figures say little: test on more tracks."
        )
    if str(about.get("protocol", "")).startswith("talk"):
        found.append(
            "The test's listens shaped the listeners' vectors (protocol of the talk), so all "
            "figures here are too good: factorise with --strict true."
        )
    if dropped := about.get("drop"):
        found.append(f"In this test no track had {', '.join(dropped)}.")
    return [paragraph(text, "warning") for text in found]


def answer(material: Material) -> Section:
    """The lead of a run's page, whatever there is."""
    if material.results is None:
        return _untested(material)
    about, rows = material.results
    if not rows:
        return _correlations(about)
    k, own = about["k"], rows[0]
    figure = f"NDCG@{k}"
    scope = (
        f"Ranked were {about['candidates']:,} new tracks, whose listens the factorisation didn't "
        f"see, for the {about['users']:,} listeners who played any of them; {about['protocol']}; "
        f"seed {about['seed']}. It holds for these tracks, this split and this seed."
    )
    if not str(about.get("protocol", "")).startswith("strict"):
        scope = scope.replace(", whose listens the factorisation didn't see,", "")
    users = f"n = {about['users']:,} listeners"
    beside = about.get("beside_the_best_rival")
    numbers = facts(_figures(about, own))
    if beside is None:
        best = max(rows[1:], key=lambda row: row.ndcg or 0, default=None)
        title = f"{figure} {number(own.ndcg)} on new tracks"
        words = f"The best of the others, {best.method}, has {number(best.ndcg)}. " if best else ""
        words += "How sure the difference is isn't stored: this test is an old one, or had nobody."
        body = [paragraph(words, "answer"), paragraph(scope), numbers, *warnings_of(about)]
        return Section("answer", title, together(body))
    if few := too_few(about):
        signed = f"{beside['mean']:+.3f}".replace("-", "−")
        words = (
            f"The model has {number(own.ndcg)}, {signed} beside the best rival, "
            f"{beside['rival']}; but {few}."
        )
        body = [paragraph(words, "answer"), paragraph(scope), numbers, *warnings_of(about)]
        return Section("answer", f"{few[:1].upper()}{few[1:]}", together(body))
    lead = Lead.of(beside, figure)
    rivals = next((row.ndcg for row in rows[1:] if row.method == lead.rival), None)
    drawn = lead.picture(users, "these tracks, this split and this seed")
    body = [
        paragraph(lead.sentence(f"The model of {own.input}", own.ndcg, rivals), "answer"),
        paragraph(scope),
        *warnings_of(about),
        numbers,
        picture(drawn),
    ]
    return Section("answer", lead.headline(), together(body), [drawn])


def _figures(about: Mapping[str, Any], own: Row) -> list[tuple[str, str, str]]:
    k, map_k = about["k"], about["map_k"]

    def interval(low: float | None, high: float | None) -> str:
        return "" if low is None else f"95 %: {number(low)} to {number(high)}"

    return [
        (f"NDCG@{k}", number(own.ndcg), interval(own.ndcg_low, own.ndcg_high)),
        (f"Recall@{k}", number(own.recall), interval(own.recall_low, own.recall_high)),
        (f"MAP@{map_k}", number(own.map), interval(own.map_low, own.map_high)),
        (
            "Coverage",
            "–" if own.coverage is None else percent(own.coverage),
            f"of the new tracks are among somebody's first {k}",
        ),
    ]


def _correlations(about: Mapping[str, Any]) -> Section:
    """Of a listener, which estimates attributes."""
    mean, tracks = about.get("mean_correlation"), about.get("tracks")
    words = (
        f"The mean correlation of estimated with human attributes over {number(tracks)} test "
        "tracks; 0 is no better than chance, 1 is perfect."
    )
    title = f"Attributes by ear: a mean correlation of {number(mean)}"
    return Section("answer", title, paragraph(words, "answer"))


def _untested(material: Material) -> Section:
    words = (
        "This run was fitted, but not tested, so nothing is known of how good it is. "
        f"`coldstart test --run {material.folder}` measures it beside floors and simple rivals."
    )
    return Section("answer", "Not tested yet", paragraph(words, "answer"))
