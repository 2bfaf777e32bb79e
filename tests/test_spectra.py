import contextlib
import io
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from conftest import World
from torch import nn

from coldstart.audio.spectra import (
    RANGE_DB,
    STEPS,
    TOP_DB,
    Decibels,
    Settings,
    below_loudest,
    frames_of,
    to_spectrogram,
)
from coldstart.audio.storage import store_facts, stored
from coldstart.commands.fit import fit
from coldstart.commands.shard import shard
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder
from coldstart.encoders.patches import START
from coldstart.encoders.spectrogram import FrameReader, Spectrogram
from coldstart.errors import InputError
from coldstart.retrieval.hearing import hear
from coldstart.runs.run import open_run, predictions_of
from coldstart.shards import build
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_tar
from coldstart.testing import EncoderContract, modality
from coldstart.training.lightning_module import load

RATE = 8000
CQT = Settings("cqt", RATE, 256, 60, 55.0)
MEL = Settings("mel", RATE, 256, 60, 55.0)
FACTS = {
    name: store_facts("cqt", RATE, 256, 60, 55.0, bits) for name, bits in (("8", 8), ("16", 16))
}
SMALL: dict[str, Any] = {"net": "small", "patch_seconds": 4.0, "dim": 8}


def music(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    at = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * 220 * (1 + seed) * at) * np.exp(-2 * (at % 0.7))
    return (0.3 * tone + 0.01 * generator.standard_normal(len(at))).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    def written(wave: np.ndarray) -> Path:
        soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
        return tmp_path / "a.wav"

    return written


# The transform


def test_the_transforms_are_nnaudio_s() -> None:
    from nnAudio.features import CQT1992v2, MelSpectrogram

    wave = torch.from_numpy(music(6))[None]
    common = {"sr": RATE, "hop_length": 256, "fmin": 55.0, "verbose": False}
    theirs = {
        CQT: CQT1992v2(n_bins=60, bins_per_octave=12, **common)(wave),
        MEL: MelSpectrogram(n_fft=2048, n_mels=60, **common)(wave).sqrt(),
    }
    for settings, magnitude in theirs.items():
        ours = Decibels(settings)(wave)
        expected = 20 * torch.log10(magnitude.clamp_min(1e-10))
        assert ours.shape == (1, 60, 6 * RATE // 256 + 1)
        torch.testing.assert_close(ours, expected, atol=0.02, rtol=0)


def test_bins_above_half_the_sample_rate_are_refused() -> None:
    for settings in (CQT._replace(bins=100), MEL._replace(fmin=5000.0)):
        with pytest.raises(InputError, match="above half the sample rate"):
            Decibels(settings)
    for broken in ({"bins": 0}, {"fmin": 0.0}, {"frame_hop": -1}):
        with pytest.raises(InputError, match="must be above 0"):
            Decibels(CQT._replace(**broken))


# Storing


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


# The encoder


def contents(facts: dict[str, Any], folder: Path, *waves: np.ndarray) -> list[bytes]:
    made = []
    for wave in waves:
        soundfile.write(folder / "c.wav", wave, RATE)
        made.append(stored(folder / "c.wav", facts))
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


class TestSixteenBits(TestEightBits):
    facts = FACTS["16"]


def pair(bits: str) -> tuple[Audio, Spectrogram]:
    """The same net, from sound and from what is stored of it."""
    torch.manual_seed(0)
    audio = Audio(**SMALL, bins=60, fmin=55.0, frame_hop=256)
    audio.start({"sample_rate": RATE})
    spectrogram = Spectrogram(**SMALL)
    spectrogram.start(FACTS[bits])
    nn.init.uniform_(audio.spectrogram.norm.running_mean, -40, -20)
    nn.init.constant_(audio.spectrogram.norm.running_var, 100)
    spectrogram.load_state_dict(audio.state_dict())
    return audio.eval(), spectrogram.eval()


@pytest.mark.parametrize("bits", ["8", "16"])
def test_a_patch_gives_the_same_from_flac_and_from_the_store(bits: str, tmp_path: Path) -> None:
    audio, spectrogram = pair(bits)
    sound = contents({"sample_rate": RATE}, tmp_path, *[music(4, seed) for seed in range(3)])
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
    (sound,) = contents({"sample_rate": RATE}, tmp_path, wave)
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


# Shards


OPTIONS: dict[str, Any] = {
    "sample_rate": RATE,
    "bins": 36,
    "fmin": 110.0,
    "frame_hop": 256,
    "shard_size": 8,
}


@pytest.fixture(scope="module")
def spectral_world(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world, with spectrograms instead of FLACs."""
    root = tmp_path_factory.mktemp("spectral_world")
    table = tiny_world.catalogue / "tracks.parquet"
    shard(table, out=root / "shards", splits=tiny_world.splits, store="cqt", workers=1, **OPTIONS)
    return tiny_world._replace(root=root, shards=root / "shards")


def test_the_dataset_says_what_is_stored(spectral_world: World) -> None:
    made = Shards(spectral_world.shards)
    assert set(made.modalities) == {"cqt", "genres"}
    info = made.info("cqt")
    assert info["fields"] == {"cqt.npy": "frames"}
    expected = {"transform": "cqt", "sample_rate": RATE, "frame_hop": 256, "bins": 36}
    assert {key: info[key] for key in expected} == expected
    assert (info["fmin"], info["dtype"], info["step_db"]) == (110.0, "uint8", 0.5)
    found = [s["cqt.npy"] for s in made.samples("train", 0, ["cqt.npy"])]
    assert len(found) == 8
    assert all(len(frames_of(content, 36, "uint8")) > 100 for content in found)


def test_a_store_is_added_beside_the_flacs(tiny_world: World, tmp_path: Path) -> None:
    table = tiny_world.catalogue / "tracks.parquet"
    pl.read_parquet(table).head(12).with_columns(
        audio=pl.lit(f"{tiny_world.catalogue}/") + pl.col("audio")
    ).write_parquet(tmp_path / "tracks.parquet")
    options = {**OPTIONS, "modalities": ["audio"], "out": tmp_path / "out", "shard_size": 4}
    shard(tmp_path / "tracks.parquet", workers=1, **options)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("audio/*.tar")}
    made = shard(tmp_path / "tracks.parquet", store="mel", bits=16, workers=1, **options)
    assert set(made.modalities) == {"audio", "mel"}
    assert {path: path.read_bytes() for path in before} == before
    again = shard(tmp_path / "tracks.parquet", store="mel", bits=16, **options)
    assert again.about == made.about
    with pytest.raises(InputError, match="'mel' is already there, made from something else"):
        shard(tmp_path / "tracks.parquet", store="mel", bits=8, **options)


def test_an_interrupted_store_goes_on_and_counts_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}.wav" for i in range(6)]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, music(2, i), RATE)
    (tmp_path / "3.wav").write_bytes(b"broken")
    columns = {"track_id": names, "title": names, "artist": names, "audio": names}
    pl.DataFrame(columns).write_csv(tmp_path / "tracks.csv")
    options = {**OPTIONS, "store": "cqt", "shard_size": 2, "workers": 1, "skip_broken": True}
    written: list[Path] = []

    def stops_at_the_second(path: Path, members: Any) -> int:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        return write_tar(path, members)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(build, "write_tar", stops_at_the_second)
        shard(tmp_path / "tracks.csv", out=tmp_path / "out", **options)
    assert not Shards(tmp_path / "out").modalities
    stamp = written[0].stat().st_mtime_ns
    made = shard(tmp_path / "tracks.csv", out=tmp_path / "out", **options)
    assert written[0].stat().st_mtime_ns == stamp
    assert sum(made.info("cqt")["shards"]["test"]) == 5
    broken = pl.read_csv(tmp_path / "out" / "broken.csv")
    assert broken["item"].to_list() == ["track '3.wav'"]
    assert "3.wav: not audio that can be decoded" in broken["reason"][0]


# Whole runs


def test_a_fit_from_the_store_is_used_like_any_other(spectral_world: World) -> None:
    """A sound file gets the vector that its track in the shards gets."""
    overrides = {
        "data.shards": spectral_world.shards,
        "data.factors": spectral_world.factors,
        "data.workers": 1,
        "trainer.max_epochs": 2,
        "model.encoders.audio.patch_seconds": 4,
        "model.encoders.audio.dim": 16,
    }
    folder = fit("audio_cqt_small.yaml", run=str(spectral_world.root / "run"), overrides=overrides)
    run = open_run(folder)
    assert load(folder).facts["cqt"]["bins"] == 36
    predicted = predictions_of(run)
    table = pl.read_parquet(spectral_world.catalogue / "tracks.parquet").drop_nulls("audio")
    track, audio = table.select("track_id", "audio").row(3)
    vector = hear(run, spectral_world.catalogue / audio)
    expected = predicted.values[predicted.track_ids.index(track)]
    torch.testing.assert_close(vector, expected, atol=1e-4, rtol=1e-4)


def test_8_bits_hold_all_that_a_net_hears_of_real_music(shared_data: Path) -> None:
    """80 dB below the loudest point of each window: nothing of it lies below the store's floor."""
    facts = {bits: store_facts("cqt", 22_050, 1024, 96, 32.7, bits) for bits in (8, 16)}
    for name in ("Kevin_MacLeod_-_Vibe_Ace.ogg", "a_vacilar.mp3", "loop_tabla.flac"):
        path = shared_data / "audio" / name
        coarse = frames_of(stored(path, facts[8]), 96, "uint8").astype(np.float32) * 0.5 - RANGE_DB
        fine = frames_of(stored(path, facts[16]), 96, "float16").astype(np.float32)
        np.testing.assert_allclose(coarse, fine, atol=0.3)
        for window in np.array_split(coarse, max(1, len(coarse) // 752)):
            assert window.max() - TOP_DB > -RANGE_DB
