"""The page of a study: a benchmark's or an ablation's table as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from coldstart.evaluation.tables import in_seeds
from coldstart.forms.content import (
    at_least,
    json_in,
    list_of,
    must_have_form,
    or_none,
    record,
    text,
    whole,
)
from coldstart.forms.content import number as a_number
from coldstart.reporting.charts import Dot, DotRow, Role, dot_heights, dot_plot
from coldstart.reporting.page import (
    DataTable,
    Page,
    Picture,
    Section,
    TableCell,
    number,
    paragraph,
    picture,
    together,
)
from coldstart.reporting.style import Size
from coldstart.summary.answer import FLOORS, Lead
from coldstart.summary.methods import SERIES, role_of
from coldstart.summary.provenance import pairs, versions

REMEDY = "run the study again: what is finished is kept"

_FIGURES = {name: or_none(a_number) for name in ("recall", "ndcg", "map")}

BENCHMARK = record(
    {
        "k": at_least(1, whole),
        "map_k": at_least(1, whole),
        "candidates": text,
        "split": text,
        "seeds": list_of(whole),
        "splits": list_of(record({"seed": whole}, others=True)),
        "best_rival": or_none(text),
        "table": list_of(
            record(
                {
                    "method": text,
                    "kind": text,
                    "input": text,
                    **_FIGURES,
                    "ndcg_low": or_none(a_number),
                    "ndcg_high": or_none(a_number),
                    "seconds": a_number,
                    "by_seed": list_of(record({"ndcg": a_number}, others=True)),
                    "beside_the_best_rival": or_none(
                        record(dict.fromkeys(("mean", "low", "high"), a_number), others=True)
                    ),
                },
                others=True,
            )
        ),
    },
    others=True,
)
"""The form of a benchmark's results.json."""

ABLATION = record(
    {
        "table": list_of(
            record(
                {
                    **dict.fromkeys(
                        ("tested_on", "trained_on", "input", "method", "training", "fusion"), text
                    ),
                    "seeds": whole,
                    **_FIGURES,
                    "ndcg_spread": or_none(a_number),
                },
                others=True,
            )
        ),
        "fusing": list_of(
            record({"input": text, "best_part": text, "ndcg_gain": a_number}, others=True)
        ),
        "about": record({"k": whole, "map_k": whole, "seeds": list_of(whole)}, others=True),
    },
    others=True,
)
"""The form of ablation.json."""


class Study(NamedTuple):
    """What a study's folder holds.

    Attributes:
        kind: `benchmark` or `ablation`.
        content: of its JSON file.
    """

    kind: str
    content: dict[str, Any]


def study_of(folder: Path) -> Study | None:
    """The study in a folder; None: it is a run's, or no study's.

    Raises:
        InputError: its file is damaged.
    """
    for kind, name, form in (
        ("ablation", "ablation.json", ABLATION),
        ("benchmark", "results.json", BENCHMARK),
    ):
        path = folder / name
        if (folder / "config.yaml").exists() or not path.is_file():
            continue
        content = json_in(path, REMEDY)
        if isinstance(content, dict) and "rows" in content:  # of a test, by a trainer in Python
            continue
        must_have_form(content, form, path, REMEDY)
        return Study(kind, content)
    return None


def study_page(folder: Path, study: Study) -> Page:
    """The page of a study."""
    make = _benchmark if study.kind == "benchmark" else _ablation
    lead, sections, settings = make(study.content)
    settings = [(study.kind, folder.absolute().name), *settings]
    settings.append(("this page was made with", versions()))
    made = Section("origin", "What made it", pairs(settings))
    missing = [] if sections else [("The table", f"no method has finished yet; {REMEDY}")]
    return Page(
        f"{folder.absolute().name}: {lead.title}",
        f"{folder.absolute().name} · {study.kind}",
        lead,
        [*sections, made],
        missing,
        f"Made by coldstart report on {datetime.now(UTC):%Y-%m-%d} (UTC). The page holds all it "
        "shows, and asks for nothing from elsewhere.",
    )


StudyParts = tuple[Section, list[Section], list[tuple[str, object]]]
"""The lead, the sections, and what was set."""


def _benchmark(content: Mapping[str, Any]) -> StudyParts:
    rows, seeds, k = content["table"], content["seeds"], content["k"]
    figure = f"NDCG@{k}"
    settings: list[tuple[str, object]] = [
        ("candidates", content["candidates"]),
        ("split", content["split"]),
        ("seeds", ", ".join(map(str, seeds))),
        *((f"seed {each['seed']}", _counts(each)) for each in content["splits"]),
    ]
    models = [row for row in rows if row["kind"] == "model"]
    counted = f"n = {len(seeds)} splits and seeds"
    users = [each["users"] for each in content["splits"] if isinstance(each.get("users"), int)]
    if users:
        counted += f", {_span(users)} listeners each"
    if not rows:
        return Section("answer", "Nothing has finished yet", paragraph("")), [], settings
    best = max(models or rows, key=lambda row: row["ndcg"] or 0.0)
    beside = best["beside_the_best_rival"]
    scope = (
        f"{counted}; candidates: {content['candidates']}; split: {content['split']}. Intervals are "
        "of a bootstrap over listeners, who are drawn with their figures of all seeds; the best "
        "rival is the best of this very table."
    )
    if len(models) > 1:
        scope += f" So is the model, of {len(models)}: the best of several flatters itself."

    drawings = []
    if beside is not None and content["best_rival"]:
        lead_of = Lead.of({**beside, "rival": content["best_rival"]}, figure)
        rival = next((r["ndcg"] for r in rows if r["method"] == content["best_rival"]), None)
        words = lead_of.sentence(best["method"], best["ndcg"], rival)
        title = f"{best['method']}: {lead_of.headline()[0].lower()}{lead_of.headline()[1:]}"
        drawings.append(lead_of.picture(counted, "these splits and seeds"))
    else:
        title, words = f"{best['method']} has {figure} {number(best['ndcg'])}", ""
    lead = Section(
        "answer",
        title,
        together([paragraph(words, "answer"), paragraph(scope), *map(picture, drawings)]),
        drawings,
    )
    return lead, [_methods(rows, figure, counted, content)], settings


def _methods(
    rows: Sequence[Mapping[str, Any]], figure: str, counted: str, content: Mapping[str, Any]
) -> Section:
    ranked = sorted(rows, key=lambda row: -(row["ndcg"] or 0.0))
    plotted, cells = [], []
    for row in ranked:
        role: Role = "ours" if row["kind"] == "model" else role_of(row["method"])
        if role == "ours" and row["kind"] != "model":
            role = "rival"
        name = SERIES[role] if role != "ours" else "models"
        dot = Dot(name, role, row["ndcg"] or 0.0, row["ndcg_low"], row["ndcg_high"])
        plotted.append(DotRow(row["method"], [dot]))
        beside = row["beside_the_best_rival"]
        cell: list[TableCell] = [
            row["method"], row["input"], row["ndcg"],
            f"{number(row['ndcg_low'])} to {number(row['ndcg_high'])}", row["recall"], row["map"],
            "–" if beside is None else f"{beside['low']:+.3f} to {beside['high']:+.3f}",
            ", ".join(number(each["ndcg"]) for each in row["by_seed"]), row["seconds"],
        ]  # fmt: skip
        cells.append(cell)
    headers = ["method", "input", figure, "95 %", f"Recall@{content['k']}"]
    headers += [f"MAP@{content['map_k']}", "beside the best rival, 95 %", "by seed", "s"]
    label = f"{figure}, 0 to 1, and its 95 % interval"
    drawn = Picture(
        "methods",
        f"{figure} of {len(rows)} methods, best first: "
        + "; ".join(f"{row['method']} {number(row['ndcg'])}" for row in ranked),
        lambda drawing, narrow: dot_plot(
            drawing, narrow, plotted, f"{label}{chr(10) if narrow else ' '}({counted})"
        ),
        Size(*dot_heights(len(plotted))),
        "Means over the splits. Bars are 95 % intervals over listeners; splits differ by more, as "
        "the figures by seed in the table show.",
        DataTable(headers, cells),
    )
    return Section("methods", "All methods", picture(drawn), [drawn])


def _ablation(content: Mapping[str, Any]) -> StudyParts:
    rows, about = content["table"], content["about"]
    figure, seeds = f"NDCG@{about['k']}", about["seeds"]
    counted = f"mean ± standard deviation, n = {len(seeds)} seeds"
    settings: list[tuple[str, object]] = [("seeds", ", ".join(map(str, seeds)))]
    for name, facts in about.get("tested_on", {}).items():
        words = "; ".join(f"{key} {_listed(value)}" for key, value in facts.items())
        settings.append((f"tested on {name}" if name else "tested on", words))
    if not rows:
        return Section("answer", "Nothing has finished yet", paragraph("")), [], settings
    models = [row for row in rows if role_of(row["method"]) == "ours"]
    others = [row for row in rows if role_of(row["method"]) != "ours"]
    best = max(models or rows, key=lambda row: row["ndcg"] or 0.0)
    comparable = [row for row in others if row["tested_on"] == best["tested_on"]]
    rival = max(comparable, key=lambda row: row["ndcg"] or 0.0, default=None)
    title = f"{_name(best)} has the best {figure}: {number(best['ndcg'])}"
    words = ""
    if rival is not None:
        gap = (best["ndcg"] or 0.0) - (rival["ndcg"] or 0.0)
        kind = "floor" if rival["method"] in FLOORS else "simple rival"
        where = f"{abs(gap):.3f} {'ahead of' if gap > 0 else 'behind'}"
        title = f"{_name(best)} is {where} the best {kind}"
        words = (
            f"It has {number(best['ndcg'])} {figure}, {_name(rival)} has {number(rival['ndcg'])}. "
            f"An ablation has spreads over {len(seeds)} seeds and no intervals over listeners: how "
            "sure that is, `coldstart benchmark` says. The best of "
            f"{len(models)} rows flatters itself."
        )
    gains = [
        paragraph(
            f"{each['input']} beside its best part, {each['best_part']}: {figure} "
            f"{each['ndcg_gain']:+.3f}"
            + (
                f", {in_seeds(each['seeds_ahead'], each['seeds'])}."
                if {"seeds_ahead", "seeds"} <= each.keys()
                else "."
            )
        )
        for each in content["fusing"]
    ]
    lead = Section("answer", title, together([paragraph(words, "answer")]))
    sections = [
        _ablated([row for row in rows if row["tested_on"] == name], name, figure, counted, about)
        for name in dict.fromkeys(row["tested_on"] for row in rows)
    ]
    if gains:
        sections.append(Section("fusing", "What fusing gains", together(gains)))
    return lead, sections, settings


def _ablated(
    rows: Sequence[Mapping[str, Any]],
    name: str,
    figure: str,
    counted: str,
    about: Mapping[str, Any],
) -> Section:
    ranked = sorted(rows, key=lambda row: -(row["ndcg"] or 0.0))
    plotted, cells = [], []
    for row in ranked:
        role, value, spread = role_of(row["method"]), row["ndcg"] or 0.0, row["ndcg_spread"]
        ends = (None, None) if spread is None else (value - spread, value + spread)
        series = SERIES[role] if role != "ours" else "models"
        plotted.append(DotRow(_name(row), [Dot(series, role, value, *ends)]))
        cell: list[TableCell] = [
            row["method"], row["input"], row["training"], row["fusion"], row["ndcg"], spread,
            row["recall"], row["map"], int(row["seeds"]),
        ]  # fmt: skip
        cells.append(cell)
    headers = ["method", "input", "training", "fusion", figure, "sd", f"Recall@{about['k']}"]
    headers += [f"MAP@{about['map_k']}", "seeds"]
    drawn = Picture(
        "ablation" + "".join(c if c.isalnum() else "_" for c in f"-{name}" if name),
        f"{figure} of {len(rows)} rows, best first: "
        + "; ".join(f"{_name(row)} {number(row['ndcg'])}" for row in ranked[:20]),
        lambda drawing, narrow: dot_plot(
            drawing, narrow, plotted, f"{figure}, 0 to 1{chr(10) if narrow else ' '}({counted})"
        ),
        Size(*dot_heights(len(plotted))),
        "Bars are standard deviations over seeds, and no intervals over listeners.",
        DataTable(headers, cells),
    )
    title = f"Tested on {name}" if name else "All rows"
    return Section(drawn.name.replace("_", "-"), title, picture(drawn), [drawn])


def _name(row: Mapping[str, Any]) -> str:
    """What a row is, in few words."""
    if role_of(row["method"]) == "floor":
        return str(row["method"])
    parts = [row["input"], row["training"], row["fusion"], row["trained_on"]]
    if role_of(row["method"]) != "ours":
        return f"{row['method']} ({row['input']})"
    more = ", ".join(part for part in parts[1:] if part)
    patches = ", single patches" if "single patches" in row["method"] else ""
    return f"{row['input']}{patches}" + (f" ({more})" if more else "")


def _counts(split: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{key.replace('_', ' ')} {_listed(value)}" for key, value in split.items() if key != "seed"
    )


def _listed(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return ", ".join(f"{each:,}" if isinstance(each, int) else str(each) for each in values)


def _span(numbers: Sequence[int]) -> str:
    ends = sorted({min(numbers), max(numbers)})
    return " to ".join(f"{each:,}" for each in ends)
