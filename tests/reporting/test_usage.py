"""Help and errors of the command line's own parser, as a person meets them."""

import re
from pathlib import Path

import pytest

from coldstart.cli import LIGHTNING_VERBS, VERBS, main


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in LIGHTNING_VERBS])
def test_help_writes_flags_as_messages_do(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--help" in text
    assert not re.search(r"--\w+_\w+(?![\w.])", text)


@pytest.mark.parametrize("flag", ["--skip-broken", "--skip_broken"])
def test_both_spellings_of_a_flag_work(flag: str, tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    rows = ["track_id,title,artist", *(f"{track},t,x" for track in "aabcdef")]
    table.write_text("\n".join(rows), encoding="utf-8")
    args = ["split", str(table), "--out", str(tmp_path / "o.parquet"), "--fractions=0.6,0.2,0.2"]
    assert main(args) == 2
    assert main([*args, flag]) == 0


WRONG = {
    "a flag": ["split x --out y --hash-audoi=false", "Did you mean --hash-audio?"],
    "a flag with an underscore": ["recommend --run x --per_artit 3", "Did you mean --per-artist?"],
    "a choice": ["split x --out y --method randon", "Did you mean random?"],
    "a sub-command": ["dataset movielen --out x", "Did you mean movielens?"],
    "a flag beside a fit's": ["tune --conifg x --space y --trials 3", "Did you mean --config?"],
    "a flag of fit": ["fit --config mgp.yaml --data.shrads x", "Did you mean --data.shards?"],
    "an own flag of fit": ["fit --config mgp.yaml --overwirte", "Did you mean --overwrite?"],
    "a head": ["fit --config mgp.yaml --model.fusion Kernl", "Did you mean Kernel?"],
    "an encoder": ["fit --config mgp.yaml --model.encoders.mgp MPG", "Did you mean MGP?"],
    "an extractor": ["extract MFC --audio x --out y", "Did you mean 'MFCC'?"],
    "a config": ["fit --config audoi.yaml", "Did you mean audio.yaml?"],
    "a verb": ["fti", "Did you mean 'fit'?"],
    "a number": ["split x --out y --seed q", "--seed: Expected a whole number. Got value: q"],
    "a number or none": [
        "recommend --run x --per-artist q",
        "--per-artist: Expected whole number or null. Got value: q",
    ],
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_mistyped_is_told_with_the_nearest(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    line, expected = WRONG[case]
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) <= 12
    assert "[options]" not in error


def test_what_is_like_nothing_is_told_without_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "x", "--out", "y", "--zzz", "3"]) == 2
    error = capsys.readouterr().err
    assert "unrecognized arguments: --zzz" in error
    assert "Did you mean" not in error
