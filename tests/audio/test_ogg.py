"""Ogg streams that follow one another are all read."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from coldstart.audio.codec import AudioError, to_flac
from coldstart.audio.ogg import is_complete, links


def ogg(seconds: float, hz: float, rate: int = 22_050, subtype: str = "VORBIS") -> bytes:
    file = io.BytesIO()
    wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    soundfile.write(file, wave, rate, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 22_050), ("OPUS", 48_000)])
def test_a_chain_of_streams_is_read_to_its_end(tmp_path: Path, subtype: str, rate: int) -> None:
    parts = [ogg(3, 440, rate, subtype), ogg(4, 600, rate, subtype), ogg(0.3, 600, rate, subtype)]
    content = b"".join(parts)
    assert links(content) == [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    assert is_complete(content)
    (tmp_path / "a.ogg").write_bytes(content)
    flac, got_rate = soundfile.read(io.BytesIO(to_flac(tmp_path / "a.ogg")))
    assert len(flac) / got_rate == pytest.approx(7.3, abs=0.05)
    for start, hz in ((0.5, 440), (4, 600)):
        second = flac[int(start * got_rate) : int((start + 1) * got_rate)]
        assert np.abs(np.fft.rfft(second * np.hanning(len(second)))).argmax() == hz


def test_a_chain_of_different_rates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ogg").write_bytes(ogg(3, 440) + ogg(3, 440, 44_100))
    with pytest.raises(AudioError, match="several streams in a row"):
        to_flac(tmp_path / "a.ogg")


def test_no_bytes_are_a_chain() -> None:
    assert links(b"") == links(b"OggS") == links(bytes(100)) == []
    assert not is_complete(b"OggS")


PAGES = st.sampled_from([b"OggS", b"Ogg", b"\0", b"\2", b"\4", b"\xff", ogg(0.6, 440)[:300]])


@given(st.lists(PAGES | st.binary(max_size=30), max_size=12).map(b"".join))
def test_any_bytes_have_streams_that_ascend_and_an_end_or_none(content: bytes) -> None:
    starts = links(content)
    assert starts == sorted(set(starts))
    assert all(content[start : start + 4] == b"OggS" for start in starts)
    assert is_complete(content) in (True, False)
