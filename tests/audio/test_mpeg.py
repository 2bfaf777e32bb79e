"""Frames of mp3s are counted, whatever lies between them, and files without a count are whole."""

import io
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coldstart.audio.codec import AudioError, blocks, to_flac
from coldstart.audio.mpeg import frame_of, frames_of
from coldstart.commands.shard import shard

VARIABLE: dict[str, Any] = {"bitrate_mode": "VARIABLE", "compression_level": 0.3}


def mp3(seconds: float, rate: int = 44_100, hz: float = 440.0, channels: int = 1) -> bytes:
    """A variable-bit-rate file whose first second is loud, so that its bit rate misleads."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.25, len(t))
    wave = np.where(t < 1, noise, 0) + 0.05 * np.sin(2 * np.pi * hz * t)
    file = io.BytesIO()
    stereo = np.repeat(wave[:, None], channels, 1)
    soundfile.write(file, stereo, rate, format="MP3", **VARIABLE)
    return file.getvalue()


def without_count(content: bytes) -> bytes:
    """Without its first frame, as stream rippers leave it."""
    assert frames_of(content).counted
    return content[frames_of(content).start :]


def seconds_of(path: Path, content: bytes) -> float:
    path.write_bytes(content)
    return sum(map(len, blocks(path, 22_050))) / 22_050


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (22_050, 2), (8000, 1)])
@pytest.mark.parametrize("seconds", [3.0, 20.0])
def test_a_file_without_its_count_is_stored_whole(
    tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    content = without_count(mp3(seconds, rate, channels=channels))
    path = tmp_path / "a.mp3"
    length = seconds_of(path, content)
    assert seconds <= length <= seconds + 0.05 + 3000 / rate
    if rate == 44_100:  # this is what is corrected
        assert soundfile.info(path).duration < seconds / 2
        flac, _ = soundfile.read(io.BytesIO(to_flac(path)))
        quiet = flac[int(1.5 * 22_050) : int(2.5 * 22_050)]
        spectrum = np.abs(np.fft.rfft(quiet * np.hanning(len(quiet))))
        assert spectrum.argmax() == pytest.approx(440, abs=1)


def test_shard_stores_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(without_count(mp3(20)))
    (tmp_path / "b.mp3").write_bytes(without_count(mp3(3)))
    (tmp_path / "t.csv").write_text("track_id,title,artist,audio\n1,A,A,a.mp3\n2,B,B,b.mp3\n")
    made = shard(tmp_path / "t.csv", out=tmp_path / "out", workers=1)
    lengths = {
        sample["track_id"]: soundfile.info(io.BytesIO(sample["audio.flac"])).duration
        for sample in made.samples("test", 0, ["audio.flac"])
    }
    assert lengths == {"1": pytest.approx(20, abs=0.05), "2": pytest.approx(3, abs=0.05)}


def test_tags_before_between_and_after_are_no_frames(tmp_path: Path) -> None:
    one, two = without_count(mp3(4)), without_count(mp3(3, hz=300))
    id3 = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)
    ape = b"APETAGEX" + (2000).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(16)
    content = id3 + id3 + one + id3 + two + ape + b"\xff\xfb" * 32 + b"TAG" + bytes(125)
    frames = frames_of(content)
    assert frames.number == frames_of(one).number + frames_of(two).number
    assert frames.start == len(id3) * 2
    assert frames.complete
    assert frames.uniform
    assert seconds_of(tmp_path / "a.mp3", content) == pytest.approx(7, abs=0.2)


def test_files_that_were_joined_are_read_to_their_end(tmp_path: Path) -> None:
    """The first one's count is of itself."""
    content = mp3(5) + mp3(7)
    assert seconds_of(tmp_path / "a.mp3", content) == pytest.approx(12, abs=0.15)
    assert soundfile.info(tmp_path / "a.mp3").duration == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("other", [mp3(3, 48_000), mp3(3, channels=2)])
def test_files_of_different_kinds_that_were_joined_are_refused(
    tmp_path: Path, other: bytes
) -> None:
    for content in (mp3(3) + other, without_count(mp3(3)) + without_count(other)):
        with pytest.raises(AudioError, match="several mp3s in a row"):
            seconds_of(tmp_path / "a.mp3", content)


def test_a_file_without_its_count_that_was_cut_is_refused(tmp_path: Path) -> None:
    content = without_count(mp3(20))
    with pytest.raises(AudioError, match="truncated: the file ends in the middle"):
        seconds_of(tmp_path / "a.mp3", content[:-150])
    whole = frames_of(content)
    assert not frames_of(content[:-150]).complete
    assert frames_of(content[:-150]).number == whole.number


def test_a_count_of_more_than_there_is_is_refused(tmp_path: Path) -> None:
    content = mp3(20)
    with pytest.raises(AudioError, match=r"truncated: .* of 20.0 s"):
        seconds_of(tmp_path / "a.mp3", content[: len(content) // 2])


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_no_bytes_are_too_strange(content: bytes) -> None:
    frames = frames_of(content)
    assert frames.number >= 0
    assert 0 <= frames.start <= len(content)
    assert (frames.first is None) == (frames.number == 0)


WHOLE = without_count(mp3(2))


@given(st.binary(max_size=400), st.binary(max_size=400))
@settings(max_examples=50, deadline=None)
def test_other_bytes_around_the_frames_do_not_change_their_number(
    before: bytes, after: bytes
) -> None:
    assume(
        not before.startswith((b"ID3", b"TAG", b"APETAGEX"))
    )  # they say what follows is no sound
    frames = frames_of(before.replace(b"\xff", b"x") + WHOLE + after.replace(b"\xff", b"x"))
    assert frames.number == frames_of(WHOLE).number
    assert frames.seconds == pytest.approx(2, abs=0.1)


def test_what_only_begins_like_a_tag_is_none() -> None:
    assert frames_of(b"ID3" + WHOLE).number == frames_of(WHOLE).number
    assert frames_of(b"ID3\x03\x00\x00\x80\x00\x00\x00" + WHOLE).number == frames_of(WHOLE).number


@given(st.binary(min_size=4, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_header_says_something_possible_or_is_none(head: bytes) -> None:
    frame = frame_of(head)
    if frame is None:
        return
    assert head[0] == 255
    assert 20 <= frame.size <= 5761
    assert frame.samples in (384, 576, 1152)
    assert frame.rate in (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def test_a_mapped_file_is_counted_too(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(WHOLE)
    with (
        (tmp_path / "a.mp3").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        assert frames_of(data) == frames_of(WHOLE)
