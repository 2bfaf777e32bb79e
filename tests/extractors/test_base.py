"""Streams of sound → windows → features; how an extractor is opened, and what it is known by."""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from coldstart.audio.sound import Samples
from coldstart.errors import InputError
from coldstart.extractors.base import (
    BATCH,
    Extractor,
    Features,
    features_of,
    open_extractor,
    track_features,
    windows_of,
)


class Means(Extractor):
    """The mean of a window, as vector and as tag."""

    rate, window, tag_names = 8000, 10, ("loud",)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def hear(self, sound: Tensor) -> Features:
        self.sizes.append(len(sound))
        mean = sound.mean(1, keepdim=True)
        return Features(mean, mean.abs())


def cut(length: int, places: list[int]) -> Iterator[Samples]:
    ends = sorted({0, length, *(place % length for place in places)})
    wave = np.arange(length, dtype=np.float32)
    return (wave[start:end] for start, end in pairwise(ends))


@given(st.integers(1, 200), st.integers(1, 40), st.lists(st.integers(0, 10_000), max_size=8))
def test_windows_do_not_depend_on_the_blocks(length: int, window: int, places: list[int]) -> None:
    expected = [w.tolist() for w in windows_of([np.arange(length, dtype=np.float32)], window)]
    assert [w.tolist() for w in windows_of(cut(length, places), window)] == expected
    assert all(len(each) == window for each in expected)
    whole = length // window
    assert len(expected) == max(1, whole + (whole > 0 and 2 * (length % window) >= window))
    if length < window:
        assert expected == [[float(i % length) for i in range(window)]]
    else:
        assert set(range(whole * window)) <= {int(x) for each in expected for x in each}


def test_windows_come_in_batches_and_a_track_is_their_mean() -> None:
    extractor = Means()
    wave = np.repeat(np.arange(2 * BATCH + 1, dtype=np.float32), extractor.window)
    batches = list(features_of(extractor, [wave]))
    assert extractor.sizes == [BATCH, BATCH, 1]
    track = extractor.track(batches)
    assert track.vectors.tolist() == track.tags.tolist() == [[float(BATCH)]]


def test_an_unusual_file_is_heard_as_it_is_stored_and_its_windows_counted_once(
    tmp_path: Path,
) -> None:
    extractor = Means()
    wave = np.tile(np.arange(10) / 10, 800)  # each window's mean is .45
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), 8000, subtype="FLOAT")
    features, windows, finding = track_features(extractor, tmp_path / "a.wav")
    assert "opposite phase" in finding.done
    assert windows == 800
    assert torch.allclose(features.vectors, torch.tensor([[0.45]]))


def test_settings_that_are_not_there_are_named() -> None:
    with pytest.raises(InputError, match="no setting 'bands'; it has: coefficients"):
        open_extractor("MFCC", {"bands": 3})
    with pytest.raises(InputError, match="coefficients are 1 to 128, not 200"):
        open_extractor("MFCC", {"coefficients": 200})
    with pytest.raises(InputError, match="MFCC can't be made with coefficients='many'"):
        open_extractor("MFCC", {"coefficients": "many"})
    with pytest.raises(InputError, match="Onnx needs the setting 'onnx'"):
        open_extractor("Onnx", {})
    with pytest.raises(InputError, match=r"no extractors plugin 'MFC'.*Did you mean 'MFCC'"):
        open_extractor("MFC", {})


def test_what_changes_the_numbers_changes_the_identity() -> None:
    one, same, other = (open_extractor("MFCC", {"coefficients": n}) for n in (20, 20, 13))
    assert one.identity() == same.identity() != other.identity()
    same.version = "2"
    assert one.identity() != same.identity()


LONG = """
import resource, sys
import numpy as np, soundfile
from coldstart.extractors.base import open_extractor, track_features
extractor = open_extractor("MFCC", {})
peaks = []
for path in sys.argv[1:]:
    windows = track_features(extractor, path)[1]
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(windows, peaks[1] - peaks[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_long_file_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    minute = np.random.default_rng(0).normal(0, 0.1, 60 * 8000).astype(np.float32)
    for name, count in (("minute.flac", 1), ("long.flac", 15)):
        with soundfile.SoundFile(tmp_path / name, "w", 8000, 1, "PCM_16") as file:
            for _ in range(count):
                file.write(minute)
    paths = [str(tmp_path / name) for name in ("minute.flac", "long.flac")]
    done = subprocess.run([sys.executable, "-c", LONG, *paths], capture_output=True, text=True)
    windows, more_kb = map(int, done.stdout.split())
    assert windows >= 290, done.stderr
    assert more_kb < 20_000  # 15 minutes at 22,050 Hz would be 79 MB


def test_the_page_s_extractor_is_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extract.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- an extractor -->\n```python\n(.*?)```", page, re.DOTALL)
    points = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(\w+) = "(.*?)"', page)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    text = "".join(f"[{group}]\n{name} = {place}\n" for group, name, place in points)
    (info / "entry_points.txt").write_text(text)
    (tmp_path / "my_package.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    extractor = open_extractor("Loudness", {"threshold": -6.0})
    wave = np.concatenate([np.full(8000, 1.0), np.full(8000, 0.01)]).astype(np.float32)
    track = extractor.track(features_of(extractor, [wave]))
    assert float(track.vectors) == pytest.approx(-20.0)
    assert float(track.tags) == pytest.approx(0.5, abs=0.01)
    (test,) = re.findall(r"<!-- its test -->\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_loudness.py").write_text(test)
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(tmp_path)]) == 0
    sys.modules.pop("my_package")
