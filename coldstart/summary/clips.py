"""Short clips of sound that stand in a page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile
import soxr

from coldstart.shards.reading import Shards
from coldstart.shards.sound import has_sound, sounds_of

SECONDS = 15
"""Length of a clip."""

RATE = 22_050
"""Samples a second, at most: enough to know a track again."""


def clips_of(shards: Shards, track_ids: Sequence[str], room: int) -> tuple[dict[str, str], str]:
    """Clips as addresses that hold the sound itself (`data:`).

    Args:
        shards: the dataset.
        track_ids: of tracks, the most important first.
        room: how many bytes there are for all of them.

    Returns:
        Id → address; and in words what was left out, empty if nothing was.
    """
    if not has_sound(shards):
        return {}, "There is nothing to listen to: this dataset has no sound that can be played."
    order = list(dict.fromkeys(track_ids))
    all_clips = {track: clip_of(flac) for track, flac in sounds_of(shards, order)}
    clips: dict[str, str] = {}
    for track in order:
        address = all_clips.get(track)
        if address is not None and len(address) <= room:
            clips[track] = address
            room -= len(address)
    silent, no_room = len(order) - len(all_clips), len(all_clips) - len(clips)
    parts = [f"the sound of {no_room} tracks, for which the page has no room"] if no_room else []
    parts += [f"that of {silent} tracks, of which the dataset has none"] if silent else []
    return clips, f"Left out: {' and '.join(parts)}." if parts else ""


def clip_of(flac: memoryview) -> str:
    """15 seconds from the middle of a sound, mono, as the address of an MP3."""
    with soundfile.SoundFile(io.BytesIO(flac)) as sound:
        rate, length = sound.samplerate, min(sound.frames, SECONDS * sound.samplerate)
        sound.seek((sound.frames - length) // 2)
        samples = sound.read(length, dtype="float32", always_2d=True).mean(1)
    if rate > RATE:
        samples, rate = soxr.resample(samples, rate, RATE), RATE
    fade = min(len(samples) // 2, rate // 20)  # no click at its ends
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    samples[:fade] *= ramp
    samples[len(samples) - fade :] *= ramp[::-1]
    file = io.BytesIO()
    # MP3 is what every browser plays; a libsndfile without it has Vorbis.
    if "MP3" in soundfile.available_formats():
        soundfile.write(file, samples, rate, format="MP3", compression_level=0.7)
        kind = "mpeg"
    else:
        soundfile.write(file, samples, rate, format="OGG", subtype="VORBIS", compression_level=0.8)
        kind = "ogg"
    return f"data:audio/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
