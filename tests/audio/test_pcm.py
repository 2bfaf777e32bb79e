"""Samples that are heard and not stored: bit for bit those of the FLAC that would be stored."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.audio import pcm
from coldstart.audio.codec import Pcm, flac_of, length, to_flac, window
from coldstart.audio.pcm import pcm_of
from coldstart.errors import InputError


def sound(seconds: float, rate: int, channels: int, loudness: float) -> np.ndarray:
    generator = np.random.default_rng(int(seconds * rate) + channels)
    return loudness * generator.uniform(-1, 1, (int(seconds * rate), channels))


CASES = [
    (0.6, 22_050, 1, 0.5),
    (45.3, 22_050, 1, 0.5),  # several blocks of the decoder
    (41.7, 44_100, 2, 1.0),
    (1.1, 48_000, 2, 0.01),
    (2.0, 11_025, 1, 1.0),
    (2.0, 7_999, 3, 0.9),
    (21.0, 96_000, 2, 1.4),  # floats beyond full scale, which are brought to range
]


@pytest.mark.parametrize(("seconds", "rate", "channels", "loudness"), CASES)
def test_they_are_the_flac_s(
    seconds: float, rate: int, channels: int, loudness: float, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(seconds, rate, channels, loudness), rate, subtype="FLOAT")
    samples, finding = pcm_of(path, 22_050)
    flac, expected = flac_of(path, 22_050)
    assert finding == expected
    assert length(samples) == length(flac)
    ours, theirs = (np.empty(length(flac), np.int16) for _ in range(2))
    window(samples, 0, ours)
    window(flac, 0, theirs)
    np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Pcm]:
    path = tmp_path_factory.mktemp("both") / "a.wav"
    soundfile.write(path, sound(1.5, 8000, 2, 0.8), 8000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pcm, "IN_MEMORY", 4000)  # the rest lies in a temporary file
        return to_flac(path, 8000), pcm_of(path, 8000)[0]


@given(start=st.integers(0, 11_999), size=st.integers(1, 20_000))
@settings(deadline=None, max_examples=60)
def test_any_window_is_the_flac_s(both: tuple[bytes, Pcm], start: int, size: int) -> None:
    ours, theirs = np.empty(size, np.int16), np.empty(size, np.int16)
    window(both[0], start, theirs)
    window(both[1], start, ours)
    np.testing.assert_array_equal(ours, theirs)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    samples = Pcm()
    monkeypatch.setattr(samples, "_file", full.open("wb", buffering=0))
    with pytest.raises(InputError, match=r"can't be kept here while it is heard .*TMPDIR"):
        samples.append(np.zeros(9, np.float32))
