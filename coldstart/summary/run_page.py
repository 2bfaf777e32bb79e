"""A run's page: the answer first, then a section for each thing there is to see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from coldstart.errors import InputError
from coldstart.reporting.page import Page, Section
from coldstart.summary.activity import activity
from coldstart.summary.answer import answer
from coldstart.summary.attributes import attributes
from coldstart.summary.curves import curves, first_stage_curves
from coldstart.summary.factor_map import factor_map
from coldstart.summary.groups import GroupRanking, genres, tiers
from coldstart.summary.long_tail import long_tail
from coldstart.summary.material import Material
from coldstart.summary.methods import methods, mixed_methods
from coldstart.summary.neighbours import neighbours
from coldstart.summary.provenance import provenance
from coldstart.summary.queries import examples
from coldstart.summary.warm_up import warm_up

MOST_BYTES = 5_000_000
"""A page is smaller than this."""

ROOM_FOR_SOUND = 3_400_000
"""Of these, so many may be sound."""


NO_CURVES = "fit.json is missing, or says nothing of validations"


TOO_FEW = "each group has too few test tracks or listeners"

PagePart = tuple[str, str, Callable[[], Section | None]]
"""What a section shows, why it may be missing, and what makes it, or None."""


def _parts(material: Material) -> list[PagePart]:
    """The sections between the answer and what made the run, in their order."""
    test = f"coldstart test --run {material.folder}"
    fits: list[PagePart] = [("The curves of the fit", NO_CURVES, lambda: curves(material))]
    if material.first_stage:
        nets = "The curves of the first stage's nets"
        fits.append((nets, NO_CURVES, lambda: first_stage_curves(material)))
    if material.results is not None and not material.results.rows:  # it predicts attributes
        return [("Attributes", f"`{test}` measures them", lambda: attributes(material)), *fits]
    ranking, why_not = _ranking(material)
    asked = examples(material)
    in_list = f"`{test} --candidates mixed` ranks them"
    no_genres = why_not or f"the dataset names no genres, or {TOO_FEW}"
    no_plays = material.problem or "the run has no factors, so nothing is known of plays"
    no_map = material.problem or "there are too few tracks"
    return [
        ("Floors and simple rivals", f"`{test}` measures them", lambda: methods(material)),
        (
            "Accuracy by popularity",
            why_not or TOO_FEW,
            lambda: tiers(material, ranking) if ranking else None,
        ),
        ("Accuracy by genre", no_genres, lambda: genres(material, ranking) if ranking else None),
        (
            "Light and heavy listeners",
            why_not or TOO_FEW,
            lambda: activity(material, ranking) if ranking else None,
        ),
        ("The warm-up curve", f"`{test} --warm-up` measures it", lambda: warm_up(material)),
        ("New and known tracks in one list", in_list, lambda: mixed_methods(material)),
        ("A map of the space", no_map, lambda: factor_map(material)),
        ("The long tail", no_plays, lambda: long_tail(material, asked)),
        ("Tracks and lists", no_plays, lambda: neighbours(material, asked, ROOM_FOR_SOUND)),
        *fits,
    ]


def _ranking(material: Material) -> tuple[GroupRanking | None, str]:
    """The test tracks, ranked once more; or why they can't be."""
    try:
        return GroupRanking(material), ""
    except InputError as error:
        return None, str(error)


def run_page(material: Material) -> Page:
    """The page of a run, with what its folder has; what it lacks is listed at the end.

    Raises:
        InputError: a file in the folder is damaged.
    """
    found: list[Section] = []
    missing: list[tuple[str, str]] = []
    for what, why, make in _parts(material):
        section = make()
        if section is None:
            missing.append((what, why))
        else:
            found.append(section)
    if not material.play and any(section.name == "tracks" for section in found):
        missing.append(
            ("Sound", "`--play` puts players on the page; mind whose rights it is under")
        )
    lead = answer(material)
    return Page(
        f"{material.name}: {lead.title}",
        f"{material.name} · {material.inputs}",
        lead,
        [*found, provenance(material)],
        missing,
        f"Made by coldstart report on {datetime.now(UTC):%Y-%m-%d} (UTC). The page holds all it "
        "shows, and asks for nothing from elsewhere.",
    )
