"""Updates on disk: once each, in any order, whole or not at all."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT, made_from, random_log
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.factors.events import Events, events_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import fold_listens
from coldstart.factors.history import Updates, pairs_of
from coldstart.factors.update import Update, current_factors, update_factors
from coldstart.files import reserved


def later(log: pl.DataFrame, value: str = "plays") -> Events:
    """The listens of a log, a year later."""
    rows = log.rename({"plays": value}).with_columns(
        pl.col(value).cast(pl.Float64),
        pl.col("timestamp").dt.offset_by("1y").dt.replace_time_zone("UTC"),
    )
    return events_of(rows, value, "new")


def without_times(log: pl.DataFrame) -> Events:
    return events_of(log.drop("timestamp").cast({"plays": pl.Float64}), "plays", "new")


NEW = pl.concat([random_log(5, 6, 18, 0.2), random_log(6, 8, 6, 0.6, first=16)])
OTHER = random_log(7, 9, 9, 0.4, first=12)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("factors")
    made_from(root, random_log(), None)
    return root / "out"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "factors")


def assert_same(one: Factors, two: Factors) -> None:
    assert (one.track_ids, one.user_ids, one.about) == (two.track_ids, two.user_ids, two.about)
    for name in ("tracks", "users"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-5)
    for name in ("folded", "split", "listeners"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.listens.toarray(), two.listens.toarray())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_factors_themselves_stay_and_the_current_ones_have_everything(folder: Path) -> None:
    before = content(folder)
    assert_same(current_factors(folder), Factors.load(folder))
    report = update_factors(folder, later(NEW))
    assert content(folder) == before
    current, base = current_factors(folder), Factors.load(folder)
    assert current.about == {**base.about, "updates": 1}
    expected = fold_listens(base, pairs_of([later(NEW).table], "plays")).factors
    np.testing.assert_array_equal(current.tracks, expected.tracks)
    np.testing.assert_array_equal(current.users, expected.users)
    assert (report.outcome, report.updates, report.id) == ("folded", 1, base.about["id"])
    assert report.users == NEW["user_id"].n_unique()
    assert report.new_tracks == len(current.track_ids) - len(base.track_ids) == 4
    assert json.loads((folder / "updates" / "report.json").read_text()) == report.as_json()


@pytest.mark.parametrize("timed", [True, False])
def test_the_same_listens_count_once(folder: Path, timed: bool) -> None:
    make = later if timed else without_times
    update_factors(folder, make(NEW))
    first = current_factors(folder)
    update_factors(folder, make(OTHER))
    both = current_factors(folder)
    for log in (NEW, OTHER.sample(fraction=1, shuffle=True, seed=0)):
        report = update_factors(folder, make(log))
        assert (report.outcome, report.updates) == ("repeated", 2)
        assert report.repeated == report.listens == len(make(log).table)
        assert_same(current_factors(folder), both)
    report = update_factors(folder, undo=True)
    assert (report.outcome, report.updates) == ("undone", 1)
    assert_same(current_factors(folder), first)
    update_factors(folder, undo=True)
    assert_same(current_factors(folder), Factors.load(folder))
    with pytest.raises(InputError, match="no update to undo"):
        update_factors(folder, undo=True)
    assert not list(folder.glob("updates/*/listens/*"))


def test_a_file_that_repeats_a_part_of_another_counts_its_new_part(folder: Path) -> None:
    update_factors(folder, later(NEW))
    report = update_factors(folder, later(pl.concat([NEW[10:], OTHER]).unique()))
    assert report.outcome == "folded"
    assert report.repeated == len(NEW) - 10
    in_parts = current_factors(folder)
    for _ in range(2):
        update_factors(folder, undo=True)
    update_factors(folder, later(pl.concat([NEW, OTHER])))
    whole = current_factors(folder)
    whole.about["updates"] = 2
    assert_same(in_parts, whole)


@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.integers(0, 2), min_size=len(NEW), max_size=len(NEW)),
    st.permutations(range(3)),
    st.booleans(),
)
def test_the_order_of_updates_does_not_matter(
    original: Path,
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[int],
    order: Sequence[int],
    timed: bool,
) -> None:
    results = []
    for each in (range(3), order):
        folder = shutil.copytree(original, tmp_path_factory.mktemp("x") / "factors")
        for part in each:
            rows = NEW.filter(pl.Series(parts) == part)
            if len(rows):
                update_factors(folder, (later if timed else without_times)(rows))
        results.append(current_factors(folder))
    assert_same(*results)
    base = Factors.load(original)
    events = (later if timed else without_times)(NEW)
    whole = fold_listens(base, pairs_of([events.table], "plays")).factors
    np.testing.assert_allclose(results[0].users, whole.users, atol=1e-5)
    np.testing.assert_allclose(results[0].tracks, whole.tracks, atol=1e-5)


@pytest.mark.parametrize(
    "where", ["write_table", "Factors.write", "history.write_json", "update.write_json"]
)
@pytest.mark.parametrize("second", [False, True])
def test_killed_in_the_middle_all_is_as_before_and_the_same_command_finishes(
    folder: Path, where: str, second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if second:
        update_factors(folder, later(OTHER))
    before = current_factors(folder)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    places = {
        "write_table": "coldstart.factors.update.write_table",
        "Factors.write": "coldstart.factors.factors.write_json",
        "history.write_json": "coldstart.factors.history.write_json",
        "update.write_json": "coldstart.factors.update.write_json",
    }
    with monkeypatch.context() as patch:
        patch.setattr(places[where], stop)
        with pytest.raises(KeyboardInterrupt):
            update_factors(folder, later(NEW))
    if where != "update.write_json":  # the report alone comes after
        assert_same(current_factors(folder), before)
    report = update_factors(folder, later(NEW))
    assert report.updates == 1 + second
    clean = [later(OTHER), later(NEW)] if second else [later(NEW)]
    pairs = pairs_of([events.table for events in clean], "plays")
    expected = fold_listens(Factors.load(folder), pairs).factors
    np.testing.assert_allclose(current_factors(folder).users, expected.users, atol=1e-6)
    states = [path.name for path in folder.glob("updates/*/*state-*")]
    assert states == [Updates(folder, report.id).state]


def test_a_second_writer_is_refused_by_name(folder: Path) -> None:
    with (
        reserved(folder / "updates", ""),
        pytest.raises(InputError, match="factors: another update is at work"),
    ):
        update_factors(folder, later(NEW))
    assert update_factors(folder, later(NEW)).updates == 1


def test_listens_of_unknown_tracks_by_unknown_users_are_kept_and_nothing_is_folded(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = random_log(8, 5, 5, 0.5, first=70)
    report = update_factors(folder, later(strangers), catalogue={"t70", "t71"})
    assert (report.users_folded, report.tracks_folded) == (0, 0)
    known = strangers.filter(pl.col("track_id").is_in(["t70", "t71"]))
    assert report.unknown_tracks == strangers["track_id"].n_unique() - 2
    assert report.unknown_listens == len(strangers) - len(known)
    current = current_factors(folder)
    assert current.listens[len(Factors.load(folder).user_ids) :].nnz == len(strangers)
    assert (
        report.age.users_without_vector == report.age.new_users == strangers["user_id"].n_unique()
    )
    assert report.age.tracks_without_vector == report.age.new_tracks
    assert "no user_id of these listens is known: they are such as 'u70' here, 'u00'" in caplog.text
    # A known user plays one of them: now it has a vector.
    report = update_factors(
        folder, later(pl.concat([NEW[:1].with_columns(track_id=pl.lit("t70"))]))
    )
    assert (report.users_folded, report.tracks_folded, report.unknown_tracks) == (0, 1, 1)
    current = current_factors(folder)
    assert current.tracks[current.row["t70"]].any()
    assert current.listeners[current.row["t70"]] == 1
    assert current.plays[current.row["t70"]] > 1


def test_new_users_alone_move_no_track(folder: Path) -> None:
    new = NEW.with_columns(user_id=pl.concat_str(pl.lit("new "), "user_id"))
    report = update_factors(folder, later(new))
    assert report.new_users == report.users == report.users_folded
    assert report.tracks_folded == 0
    base, current = Factors.load(folder), current_factors(folder)
    np.testing.assert_array_equal(current.tracks[: len(base.tracks)], base.tracks)
    np.testing.assert_array_equal(current.users[: len(base.users)], base.users)


def test_what_times_do_not_tell_is_said_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for log in (NEW, OTHER):
        update_factors(folder, without_times(log))
    assert caplog.text.count("have no timestamps") == 1
    made_from(tmp_path, random_log().drop("timestamp"), None)
    for log in (NEW, OTHER):
        update_factors(tmp_path / "out", later(log))
    assert caplog.text.count("the factorised log had no timestamps") == 1


def test_listens_from_before_the_fit_are_counted_aloud(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = random_log()
    early = pl.concat([log[:5], log[:1].with_columns(user_id=pl.lit("new"))])
    rows = early.with_columns(
        pl.col("plays").cast(pl.Float64), pl.col("timestamp").dt.replace_time_zone("UTC")
    )
    report = update_factors(folder, events_of(rows, "plays", ""))
    assert (report.early, report.in_base, report.new_users, report.users) == (6, 5, 1, 1)
    assert "6 listens are from before 2020-01-30" in caplog.text
    assert "5 of pairs that it has are taken to be in it and left out, the other 1" in caplog.text
    report = update_factors(folder, events_of(rows[:5], "plays", ""))
    assert (report.outcome, report.in_base, report.updates) == ("repeated", 5, 1)


def test_updates_of_other_factors_do_not_count(folder: Path) -> None:
    update_factors(folder, later(NEW))
    made_from(folder.parent, random_log(1), None)
    shutil.copytree(folder.parent / "out", folder, dirs_exist_ok=True)
    assert_same(current_factors(folder), Factors.load(folder))
    assert update_factors(folder).updates == 0


def test_a_damaged_state_is_made_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = update_factors(folder, later(NEW))
    before = current_factors(folder)
    state = Updates(folder, report.id).state_folder
    assert state is not None
    for repair, updates in ((None, 1), (later(NEW), 1), (later(OTHER), 2)):
        (state / "users.parquet").write_bytes(b"garbage")
        with pytest.raises(InputError, match=r"coldstart update .* makes it again"):
            current_factors(folder)
        assert update_factors(folder, repair).updates == updates
        if updates == 1:
            assert_same(current_factors(folder), before)
    assert current_factors(folder).about["updates"] == 2
    assert "made again from the stored listens" in caplog.text
    (folder / "updates" / report.id / "listens" / "000001.parquet").write_bytes(b"garbage")
    with pytest.raises(InputError, match="give the listens since the fit again"):
        update_factors(folder, later(random_log(9)))
    (folder / "updates" / report.id / "updates.json").write_text("{")
    with pytest.raises(InputError, match="give the listens since the fit again"):
        current_factors(folder)


def test_a_reader_takes_the_new_state_if_the_old_one_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_factors(folder, later(NEW))
    load, calls = Factors.load, list[Path]()

    def replaced_meanwhile(path: Path) -> Factors:
        calls.append(path)
        if len(calls) == 1:
            monkeypatch.undo()
            update_factors(folder, later(OTHER))
            monkeypatch.setattr(Factors, "load", replaced_meanwhile)
        return load(path)

    monkeypatch.setattr(Factors, "load", replaced_meanwhile)
    assert current_factors(folder).about["updates"] == 2
    assert len(calls) == 2


def test_factors_of_an_earlier_version_are_updated(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "tests" / "before" / "factors", tmp_path / "factors")
    base = Factors.load(folder)
    assert_same(current_factors(folder), base)
    rows = [(base.user_ids[0], base.track_ids[-1], 3.0), ("new", base.track_ids[0], 2.0)]
    table = pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row")
    report = update_factors(folder, events_of(table, "plays", ""))
    assert report.new_users == 1
    assert current_factors(folder).about["id"] == base.about["id"]


def test_ratings_are_folded_in_and_repeated_ones_do_not_count(tmp_path: Path) -> None:
    made_from(tmp_path, random_log(), None, algorithm="explicit")
    reports: list[Update] = [
        update_factors(tmp_path / "out", later(log, "rating")) for log in (NEW, NEW, OTHER)
    ]
    assert [each.outcome for each in reports] == ["folded", "repeated", "folded"]
    current = current_factors(tmp_path / "out")
    user, track, rating = OTHER.select("user_id", "track_id", "plays").row(0)
    assert not len(NEW.filter(user_id=user, track_id=track))
    assert current.listens[current.user_ids.index(user), current.row[track]] == rating


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": later(NEW), "undo": True}, "without listens"),
        ({"compare_refit": True}, "no update yet"),
    ],
)
def test_arguments_that_contradict_each_other(
    arguments: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(InputError, match=message):
        update_factors(folder, **arguments)


def test_a_folder_without_factors_is_refused_and_left_alone(tmp_path: Path) -> None:
    for call in (update_factors, current_factors):
        with pytest.raises(InputError, match="no factors here"):
            call(tmp_path)
    assert not list(tmp_path.iterdir())
