"""Waveform: its nets, and the settings that do not fit."""

from typing import Any

import pytest
import torch
from helpers import batch_of, noise_flac
from torch import nn

from coldstart.encoders.base import Modality
from coldstart.encoders.waveform import NETS, Waveform
from coldstart.errors import InputError

AUDIO = {"sample_rate": 8000}
NOISE = noise_flac(56_000)


@pytest.mark.parametrize("net", NETS)
def test_the_waveform_net_takes_the_shortest_patch_it_names(net: Any) -> None:
    shortest = NETS[net]().shortest
    encoder = Waveform(net=net, patch_seconds=(shortest + 0.5) / 8000, dim=8)
    encoder.start(AUDIO)
    assert encoder.samples == shortest
    assert encoder.eval()(batch_of(encoder, NOISE, [True])).isfinite().all()
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
