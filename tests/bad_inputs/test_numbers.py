"""Numbers on the command line that nothing can begin with: refused before anything is read."""

from typing import Literal

import pytest

from coldstart.audio.spectra import Settings, check_settings
from coldstart.cli import main
from coldstart.errors import InputError


@pytest.mark.parametrize(
    "args",
    [
        ["factorize", "listens.csv", "--out=factors"],
        ["split", "tracks.csv", "--out=splits.csv"],
        ["shard", "tracks.csv", "--out=shards"],
        ["update", "factors", "--listens=listens.csv"],
    ],
    ids=lambda args: args[0],
)
def test_a_seed_below_0_is_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args, "--seed=-4"]) == 2
    error = capsys.readouterr().err
    assert "seed is a whole number from 0 on, not -4" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("hop", [22_051, 99_999_999, 10**30])
def test_frames_far_apart_are_refused(hop: int) -> None:
    with pytest.raises(InputError, match="frame_hop"):
        check_settings(Settings("mel", 22_050, hop, 96, 32.7))


@pytest.mark.parametrize("kind", ["cqt", "mel"])
@pytest.mark.parametrize("bins", [1_000_000, 10**15, 2_000])
def test_more_bins_than_there_are_frequencies_are_refused(
    kind: Literal["cqt", "mel"], bins: int
) -> None:
    with pytest.raises(InputError, match="bins"):
        check_settings(Settings(kind, 22_050, 512, bins, 32.7))
