"""A run's page says what the run's folder says, and names what is not there."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, World

from coldstart.errors import InputError
from coldstart.evaluation.results import read_results
from coldstart.reporting.page import Page, document, number, pictures_of
from coldstart.runs.first_stage import Stage, write_first_stage
from coldstart.summary import factor_map, groups
from coldstart.summary.answer import answer
from coldstart.summary.groups import GroupRanking
from coldstart.summary.material import Material
from coldstart.summary.run_page import MOST_BYTES, run_page

SECTIONS = ["rivals", "popularity", "activity", "warm-up", "map", "long-tail", "tracks"]
SECTIONS += ["fit", "origin"]


@pytest.fixture(scope="module")
def page(tested: Path) -> Page:
    return run_page(Material(tested))


@pytest.fixture
def copy(tested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tested, tmp_path / "copy"))


def changed(run: Path, name: str, change: dict[str, Any]) -> Path:
    content = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**content, **change}))
    return run


def names(page: Page) -> list[str]:
    return [section.name for section in page.sections]


def test_all_sections_are_there_in_their_order(page: Page) -> None:
    assert [name for name in names(page) if name != "genres"] == SECTIONS
    missing = dict(page.missing)
    assert missing["New and known tracks in one list"].endswith("mixed` ranks them")
    assert "--play" in missing["Sound"]


def test_the_numbers_are_those_of_the_test(page: Page, tested: Path) -> None:
    about, rows = read_results(tested / "results.json")
    (drawn,) = next(section for section in page.sections if section.name == "rivals").pictures
    shown = {row[0]: row[3:7] for row in drawn.table.rows}
    assert shown.keys() == {row.method for row in rows}
    for row in rows:
        interval = f"{number(row.ndcg_low)} to {number(row.ndcg_high)}"
        assert shown[row.method] == [row.ndcg, interval, row.recall, row.map]
    beside = about["beside_the_best_rival"]
    text = str(page.lead.body)
    assert f"{beside['mean']:+.3f}".replace("-", "−") in text
    assert f"{about['candidates']:,} new tracks" in text
    assert f"{about['users']:,} listeners" in text


def test_the_page_is_small_and_by_itself(page: Page) -> None:
    text = document(page)
    assert len(text.encode()) < MOST_BYTES / 2
    assert re.findall(r"""(?:src|href)="(?!#|data:)""", text) == []
    assert re.findall(r"url\((?!#)", text) == []
    assert "<script" not in text


def test_each_picture_has_a_text_a_name_and_its_numbers(page: Page) -> None:
    pictures = pictures_of(page)
    assert len({each.name for each in pictures}) == len(pictures) >= 6
    for each in pictures:
        assert each.alt
        assert each.caption
        assert all(len(row) == len(each.table.headers) for row in each.table.rows)
        assert each.table.rows


def test_groups_are_ranked_as_the_test_did(tested: Path) -> None:
    material = Material(tested)
    ranking = GroupRanking(material)
    own = read_results(tested / "results.json").rows[0]
    assert ranking.ndcg == pytest.approx(own.ndcg, abs=1e-5)
    for figure in ranking.figures(ranking.task.part, ranking.task.parts):
        assert figure.ndcg == pytest.approx(getattr(own, f"ndcg_{figure.name}"), abs=1e-5)
        if figure.low is not None and figure.high is not None and figure.ndcg is not None:
            assert figure.low <= figure.ndcg <= figure.high
    assert "not those of the test" not in ranking.note(material)


def test_listeners_by_activity_have_the_test_s_figures(page: Page, tested: Path) -> None:
    """Groups of one size but for one listener: their weighted mean is that of all."""
    about, rows = read_results(tested / "results.json")
    (drawn,) = next(section for section in page.sections if section.name == "activity").pictures
    light, middle, heavy = drawn.table.rows
    least = [[int(n) for n in re.findall(r"\d+", str(row[0]))] for row in (light, middle, heavy)]
    assert sorted(n for pair in least for n in pair) == [n for pair in least for n in pair]
    users = [int(str(row[2])) for row in (light, middle, heavy)]
    assert sum(users) == about["users"]
    assert max(users) - min(users) <= 1
    method = {row.method.partition(" (")[0]: row for row in rows}
    rival = method[str(about["beside_the_best_rival"]["rival"]).partition(" (")[0]]
    random = next(row for row in rows if row.method == "random")
    for column, row in ((3, rows[0]), (6, rival), (5, random)):
        values = [float(str(each[column])) for each in (light, middle, heavy)]
        mean = sum(n * value for n, value in zip(users, values, strict=True)) / sum(users)
        assert mean == pytest.approx(row.ndcg, abs=0.02 if row is random else 1e-5)


def test_what_lists_are_like_is_on_the_page(page: Page, tested: Path) -> None:
    rows = read_results(tested / "results.json").rows
    body = str(next(section for section in page.sections if section.name == "rivals").body)
    assert "What their lists are like" in body
    assert number(rows[0].novelty) in body


def test_small_groups_are_named_and_not_drawn(
    tested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = Material(tested)
    monkeypatch.setattr(groups, "LEAST_TRACKS", 2)
    section = groups.genres(material, GroupRanking(material))
    assert section is not None
    (drawn,) = section.pictures
    assert all(row[1] >= 2 for row in drawn.table.rows)  # type: ignore[operator]
    monkeypatch.setattr(groups, "LEAST_TRACKS", 1000)
    assert groups.genres(material, GroupRanking(material)) is None


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.1, 0.3, "Ahead of the best simple rival by 0.200 NDCG@20"),
        (-0.3, -0.1, "Behind the best simple rival by 0.200 NDCG@20"),
        (-0.1, 0.3, "Not sure to be ahead of the best simple rival"),
    ],
)
def test_the_answer_is_as_sure_as_its_interval(
    low: float, high: float, says: str, copy: Path
) -> None:
    mean = -0.2 if high < 0 else 0.2
    beside = {"rival": "ridge (λ = 1)", "figure": "ndcg", "mean": mean, "low": low, "high": high}
    enough: dict[str, Any] = {"beside_the_best_rival": beside, "users": 99, "chance": {}}
    lead = answer(Material(changed(copy, "results.json", enough)))
    assert lead.title == says
    assert ("may as well be none" in lead.body) == (low < 0 < high)
    few = answer(Material(changed(copy, "results.json", {"users": 9})))
    assert few.title == "9 users are too few to say which is better"
    assert not few.pictures


def test_a_test_with_the_listens_in_the_factors_is_said_to_be_too_good(copy: Path) -> None:
    protocol = "talk: everything factorised, split afterwards"
    lead = answer(Material(changed(copy, "results.json", {"protocol": protocol})))
    assert "too good" in lead.body
    assert "didn&#x27;t see" not in lead.body


def test_what_is_missing_is_named_with_the_command_that_makes_it(copy: Path) -> None:
    for name in ("results.json", "warm_up.json", "fit.json"):
        (copy / name).unlink()
    page = run_page(Material(copy))
    assert page.lead.title == "Not tested yet"
    assert f"`coldstart test --run {copy} --warm-up` measures it" in dict(page.missing).values()
    assert not {"rivals", "warm-up", "fit"} & set(names(page))
    text = document(page)
    assert "What is not on this page" in text
    assert f"<code>coldstart test --run {copy}</code>" in text


def test_the_nets_of_a_first_stage_have_their_curves(copy: Path) -> None:
    """Each has a line; a net that is gone is counted."""
    runs = [copy / "stage1" / "mgp" / f"fold{i}" for i in range(3)]
    for i, run in enumerate(runs[:2]):
        run.mkdir(parents=True)
        losses = [{"epoch": e, "step": e, "val_loss": abs(e - 2 - i) + 0.5} for e in range(1, 5)]
        fit = {"epochs": 4, "seconds": 1.0, "device": "cpu", "validations": losses}
        (run / "fit.json").write_text(json.dumps(fit))
    write_first_stage(copy, {"mgp": Stage("mgp_vectors", list(map(str, runs)), "factors", "x")})
    section = next(each for each in run_page(Material(copy)).sections if each.name == "first stage")
    assert "of 1 of them nothing was kept" in section.body
    assert section.pictures[0].table.rows == [
        ["mgp", 1, 4, 2, 0.5, 1.0],
        ["mgp", 2, 4, 3, 0.5, 1.0],
    ]


def test_a_listener_s_page_has_its_correlations(copy: Path) -> None:
    """It predicts attributes, so there is nothing to rank."""
    correlation = {f"attribute {i}": 0.9 - i / 20 for i in range(30)}
    content = {"tracks": 12, "mean_correlation": 0.175, "correlation": correlation}
    (copy / "results.json").write_text(json.dumps(content))
    page = run_page(Material(copy))
    assert page.lead.title == "Attributes by ear: a mean correlation of 0.175"
    assert names(page) == ["attributes", "fit", "origin"]
    (drawn,) = page.sections[0].pictures
    assert drawn.table.rows[0] == ["attribute 0", 0.9]
    assert len(drawn.table.rows) == 30
    assert "the best 25 of 30" in document(page)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("results.json", {"k": "many"}),
        ("results.json", {"beside_the_best_rival": {"rival": 5, "figure": "ndcg"}}),
        ("results.json", {"rows": [{"method": "a", "input": "b", "ndcg": "good"}]}),
        ("warm_up.json", {"rows": []}),
        ("warm_up.json", {"tracks": None}),
        ("fit.json", {"validations": [{"epoch": 0, "step": 1}]}),
        ("fit.json", {"seconds": -1}),
    ],
)
def test_a_damaged_file_is_named(name: str, change: dict[str, Any], copy: Path) -> None:
    material = Material(changed(copy, name, change))
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        getattr(material, name.removesuffix(".json"))


def test_a_damaged_log_is_named(copy: Path) -> None:
    log = copy / "logs" / "fit" / "metrics.csv"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("epoch,step,train_loss\n0,many,0.5\n")
    with pytest.raises(InputError, match=r"metrics\.csv"):
        _ = Material(copy).losses


def test_titles_are_text_and_no_markup(
    tested: Path, tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "<script>alert(1)</script>"
    material = Material(tested)
    assert material.recommender is not None
    for track in material.recommender.catalogue.tracks:
        track |= {"title": evil, "artist": f"{evil} & sons", "genres": [evil]}  # type: ignore
    shards = material.recommender.run.data.shards
    tracks = [{**each, "title": evil, "genres": [evil]} for each in shards.tracks_in_use()]
    monkeypatch.setattr(type(shards), "tracks_in_use", lambda self: tracks)
    text = document(run_page(material))
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text


def test_an_old_run_has_a_page(tmp_path: Path) -> None:
    """Of version 0.1, and its data lies elsewhere now."""
    before = Path(shutil.copytree(ROOT / "tests" / "before", tmp_path / "before"))
    run = Path(shutil.copytree(before / "runs" / "mgp", tmp_path / "alone"))
    lost = run_page(Material(run))
    reason = dict(lost.missing)["Accuracy by popularity"]
    assert "--shards" in reason
    page = run_page(Material(run, shards=str(before / "shards"), factors=str(before / "factors")))
    assert page.lead.title == "Not sure to be ahead of the best simple rival"
    assert {"rivals", "popularity", "map", "tracks", "fit"} <= set(names(page))


def test_a_map_without_scikit_learn_has_the_main_axes(
    tested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.manifold", None)
    section = factor_map.factor_map(Material(tested))
    assert section is not None
    assert section.pictures[0].alt.count("by PCA") == 1


def test_sound_is_on_the_page_where_it_may_be_played(tested: Path) -> None:
    page = run_page(Material(tested, play=True))
    (section,) = [section for section in page.sections if section.name == "tracks"]
    assert section.body.count("<audio controls") >= 15
    assert section.body.count("data:audio/") >= 15
    assert "Sound" not in dict(page.missing)
