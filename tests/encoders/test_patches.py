"""Windows and patches: what is cut from a track, in training and at evaluation."""

import io
import tracemalloc
from typing import Any

import numpy as np
import soundfile
import torch
from helpers import noise_flac
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from coldstart.audio.codec import window
from coldstart.encoders.patches import START, PatchReader, waveform


def heard(flac: bytes, start: int, size: int) -> NDArray[np.int16]:
    out = np.empty(size, np.int16)
    window(flac, start, out)
    return out


@given(st.integers(1, 100_000), st.integers(1, 20_000), st.floats(0.01, 1), st.floats(0, 0.49))
def test_windows_at_evaluation_cover_the_track(
    track: int, patch: int, hop: float, trim: float
) -> None:
    reader = PatchReader("audio.flac", patch, None, hop, trim)
    starts = reader._covering_starts(max(0, track - patch))
    assert starts == sorted(starts)
    assert starts[0] >= 0
    assert starts[-1] + patch <= max(track, patch)
    # Windows may touch but leave no gap, and what is trimmed is the same at both ends.
    assert max(np.diff(starts), default=0) <= max(1, hop * patch)
    assert starts[0] == max(0, track - patch) - starts[-1]
    assert starts[0] <= trim * track
    if trim == 0:
        assert starts[0] == 0
        assert starts[-1] == max(0, track - patch)


@given(st.integers(1000, 9000), st.integers(1, 12_000), st.one_of(st.none(), st.integers(1, 5)))
@settings(max_examples=60, deadline=None)
def test_training_patches_lie_inside_the_track(samples: int, patch: int, fixed: int | None) -> None:
    reader = PatchReader("audio.flac", patch, fixed, 0.5, 0.0)
    sample = {"track_id": "a", "shard": "train/000000", "audio.flac": noise_flac(samples)}
    pieces = list(reader.expand(sample, training=True))
    assert len(pieces) == reader.pieces == (fixed or 1)
    starts = [piece[START] for piece in pieces]
    assert starts == sorted(starts)
    assert min(starts) >= 0
    assert max(starts) + patch <= max(samples, patch)
    if fixed:
        assert starts == [piece[START] for piece in reader.expand(sample, training=True)]
    got = reader(pieces)
    assert got.values.shape == (len(pieces), patch)
    assert got.present.all()


def test_random_patches_are_cut_anywhere() -> None:
    reader = PatchReader("audio.flac", 100, None, 0.5, 0.0)
    sample = {"track_id": "a", "shard": "train/000000", "audio.flac": noise_flac(1000)}
    starts = [next(reader.expand(sample, True))[START] for _ in range(300)]
    assert min(starts) < 100
    assert max(starts) > 800
    assert len(set(starts)) > 100


def test_a_long_track_is_never_decoded_as_a_whole() -> None:
    minutes, patch = 20, 32_000
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for minute in range(minutes):
            file.write(np.full(60 * 8000, minute / 100, dtype=np.float32))
    sample = {"track_id": "a", "shard": "s", "audio.flac": buffer.getvalue()}
    reader = PatchReader("audio.flac", patch, None, 1.0, 0.0)
    tracemalloc.start()
    pieces = reader.expand(sample, False)
    windows = [float(waveform(reader([piece]).values).mean()) for piece in pieces]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows) == minutes * 60 * 8000 / patch
    np.testing.assert_allclose([windows[0], windows[-1]], [0, (minutes - 1) / 100], atol=1e-4)
    assert peak < 4e6  # bytes; the whole track would be 38 million


def test_a_track_without_audio_is_one_absent_piece() -> None:
    reader = PatchReader("audio.flac", 100, 3, 0.5, 0.0)
    sample = {"track_id": "a", "shard": "train/000000"}
    for training in (True, False):
        assert list(reader.expand(sample, training)) == [sample]
    got = reader([sample])
    assert not got.values.any()
    assert not got.present.any()


def test_a_loader_s_worker_gives_what_the_process_itself_reads() -> None:
    """There the batch lies in shared memory, which nobody has cleared."""
    reader = PatchReader("audio.flac", 2000, None, 0.5, 0.0)
    heard = {"track_id": "a", "shard": "s", "audio.flac": noise_flac(3000)}
    samples: Any = [heard, {"track_id": "b", "shard": "s"}, {**heard, START: 500}]
    (got,) = DataLoader(samples, batch_size=3, collate_fn=reader, num_workers=1)
    for theirs, ours in zip(got, reader(samples), strict=True):
        assert torch.equal(theirs, ours)


def test_a_piece_that_another_encoder_has_cut_stays_as_it_is() -> None:
    sample = {"track_id": "a", "shard": "s", "audio.flac": noise_flac(1000), START: 17}
    assert list(PatchReader("audio.flac", 100, 3, 0.5, 0.0).expand(sample, True)) == [sample]
