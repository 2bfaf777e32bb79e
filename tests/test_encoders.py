import contextlib
import io
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from coldstart.encoders.artist import Artist
from coldstart.encoders.attributes import MGP, MachineListened, VectorReader
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder, Modality
from coldstart.encoders.embedding import Embedding
from coldstart.encoders.genres import Genres
from coldstart.encoders.waveform import NETS, Waveform
from coldstart.errors import InputError
from coldstart.sample import Sample
from coldstart.shards.writing import npy_bytes
from coldstart.testing import EncoderContract, modality

ATTRIBUTES = {"names": ["a", "b", "c"], "mean": [0.5, 0.5, 1.0], "std": [0.1, 0.3, 1.0]}
GENRES = {"vocabulary": ["rock", "pop", "jazz"]}
AUDIO = {"sample_rate": 8000}
SMALL: dict[str, Any] = {"net": "small", "patch_seconds": 6.0, "bins": 60, "dim": 8}


def flac(seconds: float = 7.0, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, int(8000 * seconds))
    soundfile.write(buffer, noise, 8000, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


NOISE = flac()
VECTORS = [npy_bytes(np.array(row)) for row in ([0.2, 0.4, 1.0], [0.9, 0.1, 0.0])]
DAMAGED = [b"", b"\x93NUMPY garbage", b"PK\x03\x04", b"\xff\xfe{", b'{"a": 1}', b"fLaC"]


class _Contract(EncoderContract):
    """Of an encoder that reads one field."""

    field: str

    def __init_subclass__(cls) -> None:
        cls.broken = [{cls.field: content} for content in DAMAGED]


class _Sound(_Contract):
    field = "audio.flac"
    tracks = ({"audio.flac": NOISE}, {"audio.flac": flac(seed=1)})
    facts = AUDIO


class TestSmallAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(**SMALL)


class TestMelAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(**SMALL, spectrogram="mel")


class TestFullAudio(_Sound):
    def encoder(self) -> Encoder:
        return Audio(patch_seconds=2.2, bins=80, fmin=30, frame_hop=128, dim=8, spectrogram="mel")


class TestSmallWaveform(_Sound):
    def encoder(self) -> Encoder:
        return Waveform(net="small", patch_seconds=2.0, dim=8)


class TestFullWaveform(_Sound):
    def encoder(self) -> Encoder:
        return Waveform(patch_seconds=7.5, dim=8)


class TestMGP(_Contract):
    field = "mgp.npy"
    tracks = tuple({"mgp.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return MGP(hidden=(16, 8))


class TestMGPByEach(TestMGP):
    def encoder(self) -> Encoder:
        return MGP(hidden=(8,), scale="each")


class TestMachineListened(_Contract):
    field = "mlg.npy"
    tracks = tuple({"mlg.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return MachineListened(hidden=(8,))


class TestEmbedding(_Contract):
    field = "mert.npy"
    tracks = tuple({"mert.npy": vector} for vector in VECTORS)
    facts = ATTRIBUTES

    def encoder(self) -> Encoder:
        return Embedding("mert", hidden=(8,))


class TestGenres(_Contract):
    field = "genres.json"
    tracks = ({"genres.json": b'["jazz", "pop"]'}, {"genres.json": b'["rock"]'})
    facts = GENRES

    def encoder(self) -> Encoder:
        return Genres(hidden=(8,))


class TestArtist(EncoderContract):
    tracks = tuple(
        {"artist.factors": np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)}
        for n in (2, 1, 5)
    )
    broken = ({"artist.factors": np.ones((2, 4), np.float32)}, {"artist.factors": np.ones(3)})
    facts: ClassVar[dict[str, Any]] = {"factors": 3}

    def encoder(self) -> Encoder:
        return Artist(most=4, hidden=(8,))


def batch(encoder: Encoder, content: bytes, present: list[bool]) -> Modality:
    (field,) = encoder.fields
    return modality(encoder, [{field: content} if there else None for there in present])


def test_the_learnt_vector_learns_only_from_missing_tracks() -> None:
    encoder = MGP(hidden=(8,))
    encoder.start(ATTRIBUTES)
    encoder(batch(encoder, VECTORS[0], [True, True])).sum().backward()
    assert not encoder.absent.grad.any()
    encoder(batch(encoder, VECTORS[0], [False, True])).sum().backward()
    torch.testing.assert_close(encoder.absent.grad, torch.ones(encoder.dim))


# Attributes


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([1.0, 2.0], dtype=np.float32), r"shape \(2,\), expected \(3,\)"),
        (np.ones((1, 3), dtype=np.float32), r"shape \(1, 3\)"),
        (np.array([1.0, np.nan, 2.0], dtype=np.float32), "no finite numbers"),
        (np.array([1.0, 1e300, 2.0]), "no finite numbers"),
        (np.array([1j, 2, 3]), "no finite numbers"),
        (np.array(["a", "b", "c"]), "no finite numbers"),
        (np.array([{}, {}, {}], dtype=object), "not a readable .npy"),
    ],
)
def test_a_vector_that_does_not_fit_gets_a_reason(array: np.ndarray, reason: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    sample: Sample = {"track_id": "a", "shard": "val/000001", "mgp.npy": buffer.getvalue()}
    with pytest.raises(
        InputError, match=f"shard val/000001, track 'a', field 'mgp.npy': .*{reason}"
    ):
        VectorReader("mgp.npy", 3)([sample])


@given(st.binary(max_size=200), st.integers(0, 128))
def test_no_bytes_can_break_the_vector_reader(garbage: bytes, at: int) -> None:
    whole = npy_bytes(np.array([1.0, 2.0, 3.0]))
    damaged = whole[:at] + garbage + whole[at + len(garbage) :]
    sample: Sample = {"track_id": "a", "shard": "s", "mgp.npy": damaged}
    with contextlib.suppress(InputError):
        assert VectorReader("mgp.npy", 3)([sample]).values.isfinite().all()


def test_scaling_centres_and_divides_by_one_spread_or_by_each() -> None:
    values = torch.tensor([[0.6, 0.8, 3.0]])
    common, each = MGP(hidden=(4,)), MGP(hidden=(4,), scale="each")
    for encoder in (common, each):
        encoder.start(ATTRIBUTES)
    centred, std = torch.tensor([[0.1, 0.3, 2.0]]), torch.tensor([0.1, 0.3, 1.0])
    torch.testing.assert_close(each.describe(values), centred / std)
    torch.testing.assert_close(common.describe(values), centred / std.square().mean().sqrt())


def test_a_constant_attribute_stays_finite() -> None:
    encoder = MGP(hidden=(4,), scale="each")
    encoder.start({"names": ["a"], "mean": [0.3], "std": [1.0]})
    assert encoder(Modality(torch.tensor([[0.3]]), torch.tensor([True]))).isfinite().all()


def test_other_attributes_than_those_trained_on_are_refused() -> None:
    encoder = MGP()
    encoder.check(ATTRIBUTES, ATTRIBUTES)
    with pytest.raises(InputError, match=r"missing: \['c'\], new: \['d'\]"):
        encoder.check({**ATTRIBUTES, "names": ["a", "b", "d"]}, ATTRIBUTES)
    with pytest.raises(InputError, match="the order counts too"):
        encoder.check({**ATTRIBUTES, "names": ["b", "a", "c"]}, ATTRIBUTES)


def test_machine_listened_attributes_need_every_fold() -> None:
    with pytest.raises(InputError, match=r"only folds \[0, 2\] of 3"):
        MachineListened().start({**ATTRIBUTES, "folds": 3, "parts": [0, 2]})
    MachineListened().start({**ATTRIBUTES, "folds": 3, "parts": [0, 1, 2]})


# Genres


def test_unknown_genres_are_left_out_and_their_track_is_present() -> None:
    encoder = Genres(hidden=(4,))
    encoder.start(GENRES)
    both = batch(encoder, b'["polka", "jazz", "rock"]', [True])
    assert both.values.tolist() == [[1.0, 0.0, 1.0]]
    none = batch(encoder, b'["polka"]', [True])
    assert not none.values.any()
    assert none.present.all()


def test_the_vocabulary_is_cut_after_the_most_frequent_genres() -> None:
    encoder = Genres(hidden=(4,), max_genres=2)
    encoder.start(GENRES)
    assert encoder.vocabulary == ["rock", "pop"]
    assert batch(encoder, b'["jazz", "pop"]', [True]).values.tolist() == [[0.0, 1.0]]


def test_a_dataset_whose_training_tracks_have_no_genre_is_refused() -> None:
    with pytest.raises(InputError, match="no training track has a genre"):
        Genres().start({"vocabulary": []})


@pytest.mark.parametrize("content", [b"[1]", b"null", b'"rock"', b"[", b'[["rock"]]', b"\xff"])
def test_genres_that_are_no_list_of_names_are_refused(content: bytes) -> None:
    encoder = Genres()
    encoder.start(GENRES)
    with pytest.raises(InputError, match=r"field 'genres\.json': not a JSON list of names"):
        batch(encoder, content, [True])


# Audio


@pytest.mark.parametrize("spectrogram", ["cqt", "mel"])
def test_silence_has_a_finite_spectrogram_and_gradient(spectrogram: str) -> None:
    encoder = Audio(**SMALL, spectrogram=spectrogram)
    encoder.start(AUDIO)
    values = torch.zeros(2, encoder.samples)
    values[1, 100] = 0.5  # one click
    level = encoder.spectrogram.decibels(values)
    assert level.isfinite().all()
    assert (level <= 0).all()
    assert (level >= -80).all()
    encoder(Modality(values, torch.tensor([True, True]))).sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("spectrogram", ["cqt", "mel"])
def test_a_spectrogram_shows_a_higher_tone_higher_up_and_ignores_loudness(spectrogram: str) -> None:
    encoder = Audio(**SMALL, spectrogram=spectrogram)
    encoder.start(AUDIO)
    time = torch.arange(encoder.samples) / 8000
    hz = torch.tensor([110.0, 220.0, 440.0])
    tones = 0.5 * torch.sin(2 * torch.pi * hz[:, None] * time)
    level = encoder.spectrogram.decibels(tones)
    loudest = level.mean(2).argmax(1)
    assert loudest.tolist() == sorted(set(loudest.tolist()))
    if spectrogram == "cqt":
        assert loudest.diff().tolist() == [12, 12]  # bins an octave
    torch.testing.assert_close(encoder.spectrogram.decibels(tones / 10), level, atol=0.05, rtol=0)


def test_kernels_that_follow_from_the_arguments_are_not_saved() -> None:
    encoder = Audio(**SMALL)
    encoder.start(AUDIO)
    kernels = dict(encoder.spectrogram.transform.named_buffers())
    assert sum(kernel.numel() for kernel in kernels.values()) > 100_000
    saved = encoder.state_dict()
    assert not [name for name in saved if name.startswith("spectrogram.transform")]
    assert {"spectrogram.norm.running_mean", "absent"} <= saved.keys()
    assert not list(encoder.spectrogram.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_seconds": 4.0}, "at least 40 frames; take longer patches"),
        ({"net": "dlrs", "spectrogram": "mel", "bins": 80}, "75 bins and 127 frames"),
        ({"net": "dlrs", "spectrogram": "mel", "bins": 60, "patch_seconds": 30}, "75 bins"),
        ({"patch_seconds": 0.5, "frame_hop": 64}, "4000 samples are too short"),
        (
            {"patch_seconds": 0.1, "frame_hop": 16, "spectrogram": "mel"},
            "800 samples are too short",
        ),
        ({"bins": 96}, "take fewer bins"),
    ],
)
def test_a_net_that_does_not_fit_its_patches_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Audio(**{**SMALL, **options}).start(AUDIO)


@pytest.mark.parametrize(
    "option",
    [
        {"patch_seconds": 0.0},
        {"hop": 0.0},
        {"hop": 1.5},
        {"trim": 0.5},
        {"trim": -0.1},
        {"bins": 0},
        {"fmin": 0.0},
        {"frame_hop": 0},
        {"dim": 0},
        {"patches": 0},
    ],
)
def test_audio_options_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Audio: "):
        Audio(**{**SMALL, **option})


def test_the_full_size_net_takes_the_shortest_patch_it_names() -> None:
    encoder = Audio(
        spectrogram="mel", bins=75, fmin=30, patch_seconds=126 * 128 / 8000, frame_hop=128
    )
    encoder.start(AUDIO)
    assert encoder.eval()(batch(encoder, NOISE, [True])).shape == (1, 512)


def test_another_sample_rate_than_trained_on_is_refused() -> None:
    encoder = Audio(**SMALL)
    encoder.check(AUDIO, AUDIO)
    with pytest.raises(InputError, match="trained on audio at 8000 Hz, the dataset has 22050 Hz"):
        encoder.check({"sample_rate": 22_050}, AUDIO)


def test_the_full_size_net_gives_a_vector_and_learns_from_it() -> None:
    encoder = Audio(patch_seconds=7)
    encoder.start({"sample_rate": 22050})
    wave = torch.rand(2, encoder.samples, generator=torch.Generator().manual_seed(0)) - 0.5
    out = encoder(Modality(wave, torch.ones(2, dtype=torch.bool)))
    assert out.shape == (2, 512)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


# Waveform


@pytest.mark.parametrize("net", NETS)
def test_the_waveform_net_takes_the_shortest_patch_it_names(net: Any) -> None:
    shortest = NETS[net]().shortest
    encoder = Waveform(net=net, patch_seconds=(shortest + 0.5) / 8000, dim=8)
    encoder.start(AUDIO)
    assert encoder.samples == shortest
    assert encoder.eval()(batch(encoder, NOISE, [True])).isfinite().all()
    with pytest.raises(InputError, match=f"needs {shortest}: at 8000 Hz, patch_seconds of"):
        Waveform(net=net, patch_seconds=(shortest - 0.5) / 8000).start(AUDIO)


def test_the_full_waveform_net_sees_59049_samples_in_one_step() -> None:
    assert NETS["sample"]().shortest == 3**10  # nine poolings by 3 after a stride of 3


@pytest.mark.parametrize(
    "option",
    [{"patch_seconds": 0.0}, {"hop": 0.0}, {"hop": 1.5}, {"trim": 0.5}, {"dim": 0}, {"patches": 0}],
)
def test_waveform_options_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Waveform: "):
        Waveform(**{"net": "small", **option})


def test_what_rivals_get_of_a_waveform_follows_the_pitch_and_not_the_loudness() -> None:
    encoder = Waveform(net="small", patch_seconds=2.0)
    encoder.start(AUDIO)
    time = torch.arange(encoder.samples) / 8000
    hz = torch.tensor([110.0, 440.0, 1760.0])
    tones = 0.5 * torch.sin(2 * torch.pi * hz[:, None] * time)
    described = encoder.describe(tones)
    loudest = described[:, : described.shape[1] // 2].argmax(1).tolist()
    assert loudest == sorted(set(loudest))
    torch.testing.assert_close(encoder.describe(tones / 10), described, atol=0.1, rtol=0)


def test_a_waveform_net_learns_to_tell_two_tones_apart() -> None:
    torch.manual_seed(0)
    encoder = Waveform(net="small", patch_seconds=0.5, dim=8, dropout=0.0)
    encoder.start(AUDIO)
    out = nn.Linear(8, 1)
    time = torch.arange(encoder.samples) / 8000
    hz = torch.rand(64, 1) * 100 + torch.tensor([200.0, 900.0]).repeat(32)[:, None]
    phase = torch.rand(64, 1) * 6.28
    tones = torch.sin(2 * torch.pi * hz * time + phase)
    high = (hz > 500).float()
    optimizer = torch.optim.Adam([*encoder.parameters(), *out.parameters()], lr=3e-3)
    here = torch.ones(64, dtype=torch.bool)
    for _ in range(15):
        loss = nn.functional.binary_cross_entropy_with_logits(
            out(encoder(Modality(tones, here))), high
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    guessed = out(encoder.eval()(Modality(tones, here))) > 0
    assert (guessed == (high > 0)).float().mean() > 0.9
