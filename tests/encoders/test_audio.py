"""Audio: its spectrograms, its nets, and the settings that do not fit."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from helpers import batch_of, noise_flac

from coldstart.encoders.audio import Audio, StatisticsNet
from coldstart.encoders.base import Modality
from coldstart.errors import InputError

AUDIO = {"sample_rate": 8000}
SMALL: dict[str, Any] = {"net": "small", "patch_seconds": 6.0, "bins": 60, "dim": 8}
NOISE = noise_flac(56_000)


@pytest.mark.parametrize("spectrogram", ["cqt", "mel"])
def test_silence_has_a_finite_spectrogram_and_gradient(spectrogram: Literal["cqt", "mel"]) -> None:
    encoder = Audio(**SMALL, spectrogram=spectrogram)
    encoder.start(AUDIO)
    values = torch.zeros(2, encoder.samples)
    values[1, 100] = 0.5  # one click
    level = encoder.spectrogram.decibels(values)
    assert level.isfinite().all()
    assert (level <= 0).all()
    assert (level >= -80).all()
    encoder(Modality(values, torch.tensor([True, True]))).sum().backward()
    gradients = [p.grad for p in encoder.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("spectrogram", ["cqt", "mel"])
def test_a_spectrogram_shows_a_higher_tone_higher_up_and_ignores_loudness(
    spectrogram: Literal["cqt", "mel"],
) -> None:
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
        ({"net": "statistics", "patch_seconds": 4.0}, "at least 40 frames; take longer patches"),
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
    assert encoder.eval()(batch_of(encoder, NOISE, [True])).shape == (1, 512)


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


def test_the_statistics_are_mean_spread_and_change_of_each_bin_then_the_rhythm() -> None:
    net = StatisticsNet(bins=16, frames=200, dropout=0.5).eval()
    level = torch.randn(3, 16, 200, generator=torch.Generator().manual_seed(0))
    out = net(level)
    assert out.shape == (3, net.dim)
    assert net.dim > 3 * 16 + net.GROUPS
    expected = torch.cat([level.mean(2), level.std(2), level.diff(dim=2).abs().mean(2)], 1)
    torch.testing.assert_close(out[:, :48] * (1 + net.norm.eps) ** 0.5, expected)
    assert not list(net.parameters())


@pytest.mark.parametrize("cycles", [5, 40])
def test_the_rhythm_shows_how_often_the_level_rises(cycles: int) -> None:
    net = StatisticsNet(bins=8, frames=201, dropout=0.0).eval()
    pulse = torch.zeros(200).scatter(0, (torch.arange(cycles) * 200 / cycles).long() + 1, 20.0)
    level = torch.cat([torch.zeros(1), pulse]).expand(1, 8, 201)
    rhythm = net(level)[0, 24:].unflatten(0, (-1, net.groups))[:, 0]
    first, end = np.array(net.edges[:-1]), np.array(net.edges[1:])
    of_pulse = int(np.flatnonzero((first <= cycles) & (cycles < end))[0])
    assert rhythm[: of_pulse + 1].argmax() == of_pulse  # above it are its overtones


def test_statistics_standardise_by_what_was_seen_in_training_also_after_a_batch_of_one() -> None:
    net = StatisticsNet(bins=8, frames=60, dropout=0.0)
    levels = torch.randn(64, 8, 60, generator=torch.Generator().manual_seed(0)) * 3 + 7
    normed = net(levels)
    torch.testing.assert_close(normed.mean(0), torch.zeros(net.dim), atol=1e-3, rtol=0)
    mean = net.norm.get_buffer("running_mean").clone()
    assert mean[0] > 0.5
    assert net(levels[:1]).isfinite().all()
    assert torch.equal(net.norm.get_buffer("running_mean"), mean)
    net(levels)
    assert not torch.equal(net.norm.get_buffer("running_mean"), mean)
    net.eval()
    torch.testing.assert_close(net(levels)[:1], net(levels[:1]))


def test_the_weights_of_a_small_net_are_those_of_earlier_checkpoints() -> None:
    encoder = Audio(**SMALL)
    encoder.start(AUDIO)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["net.layers.0.weight"] == (64, 60, 4)
    assert shapes["out.0.weight"] == (8, 384)
    assert Audio().net_name == "dlrs"


def test_two_seeded_fits_of_statistics_give_the_same_weights() -> None:
    def fitted() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        encoder = Audio(**{**SMALL, "net": "statistics"})
        encoder.start(AUDIO)
        optimiser = torch.optim.Adam(encoder.parameters())
        wave = torch.rand(4, encoder.samples) - 0.5
        for _ in range(3):
            optimiser.zero_grad()
            encoder(Modality(wave, torch.ones(4, dtype=torch.bool))).square().sum().backward()
            optimiser.step()
        return encoder.state_dict()

    one, other = fitted(), fitted()
    assert "net.norm.running_var" in one
    assert all(torch.equal(one[name], other[name]) for name in one)
