"""Spectrogram: what it reads from the store is what Audio computes from the sound."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from helpers import SAMPLE_RATE, music
from torch import nn

from coldstart.audio.spectra import below_loudest, frames_of
from coldstart.audio.storage import content_of, store_facts
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder
from coldstart.encoders.patches import START
from coldstart.encoders.spectrogram import FrameReader, Spectrogram
from coldstart.errors import InputError
from coldstart.testing import EncoderContract, modality

FACTS = {
    name: store_facts("cqt", SAMPLE_RATE, 256, 60, 55.0, bits)
    for name, bits in (("8", 8), ("16", 16))
}
SMALL: dict[str, Any] = {"net": "small", "patch_seconds": 4.0, "dim": 8}


def contents(facts: dict[str, Any], folder: Path, *waves: np.ndarray) -> list[bytes]:
    made = []
    for wave in waves:
        soundfile.write(folder / "c.wav", wave, SAMPLE_RATE)
        made.append(content_of(folder / "c.wav", facts))
    return made


class TestEightBits(EncoderContract):
    facts = FACTS["8"]
    broken: ClassVar = [{"cqt.npy": content} for content in (b"", b"\x93NUMPY garbage", b"fLaC")]

    @pytest.fixture(autouse=True)
    def _tracks(self, tmp_path: Path) -> None:
        made = contents(dict(self.facts), tmp_path, music(6), music(3, seed=1))
        type(self).tracks = [{"cqt.npy": content} for content in made]

    def encoder(self) -> Encoder:
        return Spectrogram(**SMALL)


class TestStatistics(TestEightBits):
    def encoder(self) -> Encoder:
        return Spectrogram(**{**SMALL, "net": "statistics"})


class TestSixteenBits(TestEightBits):
    facts = FACTS["16"]


def pair(bits: str) -> tuple[Audio, Spectrogram]:
    """The same net, from sound and from what is stored of it."""
    torch.manual_seed(0)
    audio = Audio(**SMALL, bins=60, fmin=55.0, frame_hop=256)
    audio.start({"sample_rate": SAMPLE_RATE})
    spectrogram = Spectrogram(**SMALL)
    spectrogram.start(FACTS[bits])
    norm = audio.spectrogram.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.uniform_(norm.running_mean, -40, -20)
    nn.init.constant_(norm.running_var, 100)
    spectrogram.load_state_dict(audio.state_dict())
    return audio.eval(), spectrogram.eval()


@pytest.mark.parametrize("bits", ["8", "16"])
def test_a_patch_gives_the_same_from_flac_and_from_the_store(bits: str, tmp_path: Path) -> None:
    audio, spectrogram = pair(bits)
    sound = contents({"sample_rate": SAMPLE_RATE}, tmp_path, *[music(4, seed) for seed in range(3)])
    stores = contents(FACTS[bits], tmp_path, *[music(4, seed) for seed in range(3)])
    heard = modality(audio, [{"audio.flac": content} for content in sound])
    read = modality(spectrogram, [{"cqt.npy": content} for content in stores])
    level = audio.spectrogram.decibels(heard.values)
    step = {"8": 0.5, "16": 0.0625}[bits]
    torch.testing.assert_close(
        spectrogram.spectrogram.decibels(read.values), level, atol=step + 0.02, rtol=0
    )
    with torch.no_grad():
        torch.testing.assert_close(spectrogram(read), audio(heard), atol=0.3 * step, rtol=0)


def test_inside_a_track_only_the_patch_s_ends_differ(tmp_path: Path) -> None:
    """A patch of FLAC is reflected at its ends; what is stored knows what lies beyond."""
    audio, spectrogram = pair("16")
    wave = music(12)
    start = 10 * 256
    (sound,) = contents({"sample_rate": SAMPLE_RATE}, tmp_path, wave)
    (store,) = contents(FACTS["16"], tmp_path, wave)
    heard = modality(audio, [{"audio.flac": sound, START: start}])
    read = modality(spectrogram, [{"cqt.npy": store, START: start}])
    margin = audio.spectrogram.transform.margin // 256 + 1
    levels = [
        audio.spectrogram.transform(heard.values.float()),
        read.values.float().transpose(1, 2),
    ]
    inner = [below_loudest(level[:, :, margin:-margin]) for level in levels]
    assert inner[0].shape[2] > 90
    torch.testing.assert_close(inner[0], inner[1], atol=0.3, rtol=0)


def test_windows_are_cut_by_frames_and_named_in_samples(tmp_path: Path) -> None:
    (store,) = contents(FACTS["8"], tmp_path, music(12))
    frames = frames_of(store, 60, "uint8")
    reader = FrameReader("cqt.npy", 100, FACTS["8"], None, 0.5, 0.0)
    reader = pickle.loads(pickle.dumps(reader))
    sample = {"track_id": "a", "shard": "s", "cqt.npy": memoryview(store)}
    pieces = list(reader.expand(sample, training=False))
    starts = [piece[START] // 256 for piece in pieces]
    assert starts[0] == 0
    assert starts[-1] == len(frames) - 100
    assert max(np.diff(starts)) <= 50
    values = reader(pieces).values
    assert values.dtype == torch.uint8
    for start, value in zip(starts, values.numpy(), strict=True):
        np.testing.assert_array_equal(value, frames[start : start + 100])
    drawn = {next(reader.expand(sample, training=True))[START] for _ in range(50)}
    assert len(drawn) > 20
    assert not any(start % 256 for start in drawn)
    short = FrameReader("cqt.npy", 1000, FACTS["8"], None, 0.5, 0.0)
    np.testing.assert_array_equal(short([sample]).values[0], np.resize(frames, (1000, 60)))


def test_folders_that_hold_something_else_are_refused() -> None:
    with pytest.raises(InputError, match=r"mgp\.npy: these are no spectrograms; .* --store cqt"):
        Spectrogram("mgp").start({"names": ["a"], "mean": [0.0], "std": [1.0]})
    encoder = Spectrogram(**SMALL)
    encoder.start(FACTS["8"])
    encoder.check(FACTS["8"], FACTS["8"])
    with pytest.raises(
        InputError, match=r"trained on spectrograms with frame_hop 256, .* have 512"
    ):
        encoder.check({**FACTS["8"], "frame_hop": 512}, FACTS["8"])
    with pytest.raises(InputError, match="Spectrogram: dim"):
        Spectrogram(dim=0)
