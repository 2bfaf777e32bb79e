from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import made_from

from coldstart.errors import InputError

SPLITS = "track_id,split\na,train\nb,train\nc,val\nd,test\n"


def log_of(*pairs: str) -> pl.DataFrame:
    """One listen a pair such as `ua`, of user u and track a, a day after the other."""
    rows = [(pair[0], pair[1], 1, f"2020-01-{day:02}") for day, pair in enumerate(pairs, 1)]
    return pl.DataFrame(rows, ["user_id", "track_id", "plays", "timestamp"], orient="row")


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (["ua", "vb", "wc"], {}, "no listener has played two training tracks"),
        (["ua", "va"], {}, "no listener has played two training tracks"),
        (["ua", "ub", "vc"], {}, "one listener alone has played training tracks"),
        (["ua", "ub", "va"], {}, "none of the 1 val tracks was played: nothing to choose"),
        (["ua", "ub", "va"], {}, "none of the 1 test tracks was played: nothing to measure"),
        (["ua", "vb"], {"hold_out": 0.5}, "hold_out: nothing is withheld: 50%"),
        (["ua", "ub", "va"], {"until": "2021-01-01"}, "until: nothing is withheld"),
    ],
)
def test_what_a_small_log_does_not_tell_is_said(
    pairs: list[str],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "s.csv").write_text(SPLITS)
    made_from(tmp_path, log_of(*pairs), tmp_path / "s.csv", **{"factors": 2, **options})
    assert message in caplog.text


def test_a_log_that_suffices_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "s.csv").write_text(SPLITS)
    log = log_of("ua", "ub", "va", "vb", "uc", "vd")
    made_from(tmp_path, log, tmp_path / "s.csv", factors=2)
    assert not [r for r in caplog.records if r.name.startswith("coldstart")]


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (["uc", "ub"], {"until": "2020-01-02"}, "no training track was played before 2020-01-02"),
        (["ux"], {}, "ids are such as 'x' here, 'a' there"),
        (["ua", "vb", "wc"], {"regularization": 0.0, "factors": 4}, "raise --regularization"),
        (["ua"], {"seed": -1}, "seed is a whole number from 0"),
        (["ua"], {"factors": 10**9}, "factors are at most 10,000"),
    ],
)
def test_what_gives_no_vectors_is_refused(
    pairs: list[str], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "s.csv").write_text(SPLITS)
    with pytest.raises(InputError, match=message):
        made_from(tmp_path, log_of(*pairs), tmp_path / "s.csv", **options)


def test_more_factors_than_tracks_or_listeners_are_named_beside_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.csv").write_text(SPLITS)
    made_from(tmp_path, log_of("ua", "ub", "va"), tmp_path / "s.csv", factors=3)
    text = capsys.readouterr().out
    assert "note: 2 training tracks of 2 listeners can't fill 3 factors: give at most" in text
    made_from(tmp_path, log_of("ua", "ub", "va"), tmp_path / "s.csv", factors=2)
    assert "note" not in capsys.readouterr().out
