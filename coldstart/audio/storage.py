"""How shards store sound: as FLAC, or as spectrograms. One function makes either from a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from coldstart.addresses.copies import fetched
from coldstart.addresses.failures import AbsentError
from coldstart.audio.codec import flac_of
from coldstart.audio.mono import Finding
from coldstart.audio.pcm import Pcm, pcm_of
from coldstart.audio.sound import AudioError
from coldstart.audio.spectra import STEPS, TRANSFORMS, Settings, check_settings, spectrogram_of
from coldstart.errors import InputError, one_of
from coldstart.files import MISSING, StrPath

log = logging.getLogger(__name__)

Store = Literal["flac", "cqt", "mel"]


TYPES = {8: "uint8", 16: "float16"}


def store_facts(
    store: Store, sample_rate: int, frame_hop: int, bins: int, fmin: float, bits: int
) -> dict[str, Any]:
    """What dataset.json says of a store: all that its bytes depend on, except the sound files.

    Raises:
        InputError: there is no such spectrogram.

    >>> store_facts("flac", 22_050, 1024, 96, 32.7, 8)
    {'sample_rate': 22050}
    """
    one_of("store", store, ("flac", *TRANSFORMS))
    if bits not in TYPES:
        raise InputError(f"bits: {bits} is not one of {', '.join(map(str, TYPES))}")
    if store == "flac":
        return {"sample_rate": sample_rate}
    settings = Settings(store, sample_rate, frame_hop, bins, fmin)
    check_settings(settings)
    return {**settings._asdict(), "dtype": TYPES[bits], "step_db": STEPS[TYPES[bits]]}


def field_of(facts: Mapping[str, Any]) -> str:
    """The tar member of each track in a store with these facts.

    >>> field_of({"sample_rate": 22_050})
    'audio.flac'
    """
    return f"{facts['transform']}.npy" if "transform" in facts else "audio.flac"


def content_of(path: StrPath, facts: Mapping[str, Any]) -> bytes:
    """The bytes of this file's tar member in a store with these facts; warns of what is doubtful.

    Raises:
        AudioError: the file can't be used.
    """
    content, finding = content_and_finding(path, facts)
    _warn_of(path, finding)
    return content


def samples_of(path: StrPath, facts: Mapping[str, Any]) -> Pcm:
    """The samples of this file's FLAC in a store with these facts; a FLAC isn't made.

    Raises:
        AudioError: the file can't be used.
    """
    samples, finding = pcm_of(path, facts["sample_rate"])
    _warn_of(path, finding)
    return samples


def _warn_of(path: StrPath, finding: Finding) -> None:
    if finding.text:
        log.warning(f"{path}: {finding.text}")


def content_and_finding(path: StrPath, facts: Mapping[str, Any]) -> tuple[bytes, Finding]:
    """The bytes of this file's tar member in a store with these facts, and what the file is like.

    Args:
        path: or address, from which the file is fetched for the time being.
        facts: of the store.

    Raises:
        AudioError: the file can't be used.
        InputError: its store doesn't give it, for a reason that may pass.
    """
    try:
        with fetched(path) as file:
            if "transform" not in facts:
                return flac_of(file, facts["sample_rate"])
            settings = Settings(*(facts[key] for key in Settings._fields))
            return spectrogram_of(file, settings, facts["dtype"])
    except AbsentError as error:
        raise AudioError(MISSING) from error
