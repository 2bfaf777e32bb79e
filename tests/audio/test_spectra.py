import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import SAMPLE_RATE, music

from coldstart.audio.spectra import (
    RANGE_DB,
    STEPS,
    TOP_DB,
    Decibels,
    Settings,
    frames_of,
    to_spectrogram,
)
from coldstart.audio.storage import content_of, store_facts
from coldstart.errors import InputError

CQT = Settings("cqt", SAMPLE_RATE, 256, 60, 55.0)
MEL = Settings("mel", SAMPLE_RATE, 256, 60, 55.0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    def written(wave: np.ndarray) -> Path:
        soundfile.write(tmp_path / "a.wav", wave, SAMPLE_RATE, subtype="FLOAT")
        return tmp_path / "a.wav"

    return written


def test_the_transforms_are_nnaudio_s() -> None:
    from nnAudio.features import CQT1992v2, MelSpectrogram

    wave = torch.from_numpy(music(6))[None]
    common = {"sr": SAMPLE_RATE, "hop_length": 256, "fmin": 55.0, "verbose": False}
    theirs = {
        CQT: CQT1992v2(n_bins=60, bins_per_octave=12, **common)(wave),
        MEL: MelSpectrogram(n_fft=2048, n_mels=60, **common)(wave).sqrt(),
    }
    for settings, magnitude in theirs.items():
        ours = Decibels(settings)(wave)
        expected = 20 * torch.log10(magnitude.clamp_min(1e-10))
        assert ours.shape == (1, 60, 6 * SAMPLE_RATE // 256 + 1)
        torch.testing.assert_close(ours, expected, atol=0.02, rtol=0)


def test_bins_above_half_the_sample_rate_are_refused() -> None:
    for settings in (CQT._replace(bins=100), MEL._replace(fmin=5000.0)):
        with pytest.raises(InputError, match="above half the sample rate"):
            Decibels(settings)
    for broken in ({"bins": 0}, {"fmin": 0.0}, {"frame_hop": -1}):
        with pytest.raises(InputError, match="must be above 0"):
            Decibels(CQT._replace(**broken))


@pytest.mark.parametrize("seconds", [0.5, 3.0, 45.0])
@pytest.mark.parametrize(
    ("settings", "dtype"),
    [(CQT, "float16"), (CQT._replace(fmin=20.0), "uint8"), (MEL._replace(frame_hop=3000), "uint8")],
)
def test_a_file_is_stored_as_the_transform_of_the_whole(
    write: Callable[[np.ndarray], Path], seconds: float, settings: Settings, dtype: str
) -> None:
    """Block by block, within half a step."""
    wave = music(seconds)
    content = to_spectrogram(write(wave), settings, dtype)
    decibels = Decibels(settings)
    if len(wave) < decibels.shortest:
        wave = np.resize(wave, decibels.shortest)
    whole = decibels(torch.from_numpy(wave)[None])[0].T.numpy()
    level = frames_of(content, 60, dtype).astype(np.float32) * STEPS[dtype]
    expected = np.maximum(whole - whole.max(), -RANGE_DB)
    step = {"uint8": 0.5, "float16": 0.0625}[dtype]
    np.testing.assert_allclose(level - level.max(), expected, atol=step / 2 + 1e-3)
    loaded = np.load(io.BytesIO(content), allow_pickle=False)  # an ordinary .npy
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, frames_of(content, 60, dtype))


def test_memory_does_not_grow_with_the_samples(write: Callable[[np.ndarray], Path]) -> None:
    peaks = []
    for seconds in (1, 40, 160):  # the kernels are made with the first
        path = write(music(seconds))
        tracemalloc.start()
        to_spectrogram(path, CQT, "uint8")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 2.5e6  # bytes: the levels, twice; the samples are 3.8 million


@pytest.mark.parametrize("change", ["cut", "type", "bins", "garbage", "empty"])
def test_what_is_no_spectrogram_of_this_kind_is_refused(change: str) -> None:
    def npy(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    good = np.zeros((9, 4), np.uint8)
    np.testing.assert_array_equal(frames_of(npy(good), 4, "uint8"), good)
    bad = {
        "cut": npy(good)[:-1],
        "type": npy(good.astype(np.int8)),
        "bins": npy(good.reshape(4, 9)),
        "garbage": b"\x93NUMPY\x01\x00\xff\xff{",
        "empty": npy(good[:0]),
    }
    with pytest.raises(ValueError, match=r"not an \.npy of uint8 \[frames, 4\]"):
        frames_of(bad[change], 4, "uint8")


def test_8_bits_hold_all_that_a_net_hears_of_real_music(shared_data: Path) -> None:
    """80 dB below the loudest point of each window: nothing of it lies below the store's floor."""
    facts = {bits: store_facts("cqt", 22_050, 1024, 96, 32.7, bits) for bits in (8, 16)}
    for name in ("Kevin_MacLeod_-_Vibe_Ace.ogg", "a_vacilar.mp3", "loop_tabla.flac"):
        path = shared_data / "audio" / name
        steps = frames_of(content_of(path, facts[8]), 96, "uint8")
        coarse = steps.astype(np.float32) * 0.5 - RANGE_DB
        fine = frames_of(content_of(path, facts[16]), 96, "float16").astype(np.float32)
        np.testing.assert_allclose(coarse, fine, atol=0.3)
        for window in np.array_split(coarse, max(1, len(coarse) // 752)):
            assert window.max() - TOP_DB > -RANGE_DB
