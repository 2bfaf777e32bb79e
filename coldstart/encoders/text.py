"""Texts: lyrics, biographies, descriptions or tags as words, weighted by how rare they are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed


@cache
def _word() -> re.Pattern[str]:
    r"""A word: letters, digits and underscores of any script, with the marks that follow them.

    Python's `\w` lacks marks, and so would cut Hindi at its vowels; the two joiners at the end of
    the class stand within words of Persian and Hindi. Nearly all marks lie below 0x20000.
    """
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    return re.compile(rf"\w[\w{marks}\u200c\u200d]*")


def words_of(text: str) -> list[str]:
    """The words of a text, in their order; the same for capitals and for other ways to write é.

    >>> words_of("Don't stop: Été 1999!")
    ['don', 't', 'stop', 'été', '1999']
    """
    words: list[str] = _word().findall(unicodedata.normalize("NFKC", text).casefold())
    return words


def _text_of(sample: Sample, field: str) -> str:
    """A track's text; empty where it has none."""
    try:
        return str(sample.get(field, b""), "utf-8").strip()
    except UnicodeDecodeError as error:
        raise malformed(sample, field, f"not UTF-8 ({error})") from error


class WordReader(WholeTrack):
    """Reads UTF-8 texts into TF-IDF vectors over known words."""

    def __init__(self, field: str, words: Sequence[str], rarity: Sequence[float]) -> None:
        """`rarity`: of each word, log((1 + N) / (1 + df)) + 1."""
        self.field, self.rarity = field, np.array(rarity)
        self.column = {word: i for i, word in enumerate(words)}

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, V]: each row of length 1, or zeros if no word of it is known.

        An empty text counts as missing, as for `shard`; one without a known word is present.
        """
        width = len(self.column)
        present = torch.zeros(len(samples), dtype=torch.bool)
        places: list[int] = []
        for i, sample in enumerate(samples):
            if text := _text_of(sample, self.field):
                present[i] = True
                found = map(self.column.get, words_of(text))
                places += [i * width + column for column in found if column is not None]
        place, count = np.unique(np.array(places, dtype=np.int64), return_counts=True)
        row, column = np.divmod(place, width)
        weights = (1 + np.log(count)) * self.rarity[column]
        weights /= np.sqrt(np.bincount(row, weights**2, len(samples)))[row]
        values = torch.zeros(len(samples), width)
        values.view(-1)[torch.from_numpy(place)] = torch.from_numpy(weights).float()
        return Modality(values, present)


class Text(Encoder):
    """Texts as TF-IDF vectors: as they are, or through dense layers.

    A word that stands tf times in a text, and in df of the N training tracks' texts, has the weight
    (1 + log tf) · (log((1 + N) / (1 + df)) + 1); each vector is then scaled to length 1 (Salton and
    Buckley, "Term-weighting approaches in automatic text retrieval", 1988; with the 1s that
    scikit-learn adds, by which a word of all texts still counts a little). The words and their
    frequencies are the training tracks' alone.
    """

    interface = 1
    fields: tuple[str, ...] = ("text.txt",)

    def __init__(
        self,
        modality: str = "text",
        hidden: Sequence[int] = (),
        dropout: float = 0.5,
        max_words: int = 5000,
        min_tracks: int = 2,
    ) -> None:
        """The vectors themselves, or dense layers over them.

        Args:
            modality: folder of the shards: NAME in `coldstart shard --texts.NAME FILE`.
            hidden: widths of dense layers; none by default: fusion gets the vectors.
            dropout: share of units dropped after each layer while training.
            max_words: size of the vocabulary: the words of the most training tracks.
            min_tracks: training tracks that must have a word, or it is left out.
        """
        super().__init__()
        if min(hidden, default=1) < 1:
            raise InputError(f"hidden: {list(hidden)} are not widths of at least 1")
        if max_words < 1 or min_tracks < 1:
            raise InputError("Text: max_words and min_tracks are at least 1")
        if not modality.isidentifier():
            raise InputError(
                f"Text: modality {modality!r} is not a name of letters, digits and _, as in "
                "`coldstart shard --texts.NAME FILE`"
            )
        self.hidden, self.dropout = tuple(hidden), dropout
        self.max_words, self.min_tracks = max_words, min_tracks
        self.fields = (f"{modality}.txt",)

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Any folder of texts."""
        return {"modality": folder} if f"{folder}.txt" in info.get("fields", ()) else None

    def has_layers(self) -> bool:
        """Unless `hidden` is empty."""
        return bool(self.hidden)

    def learn(self, samples: Iterable[Sample]) -> dict[str, Any]:
        """How many training tracks have a text, and how many of them have each word."""
        tracks: Counter[str] = Counter()
        texts = 0
        for sample in samples:
            if text := _text_of(sample, self.fields[0]):
                texts += 1
                tracks.update(set(words_of(text)))
        most = sorted(tracks.items(), key=lambda item: (-item[1], item[0]))[: self.max_words]
        words = {word: count for word, count in most if count >= self.min_tracks}
        if not words:
            raise InputError(
                f"{self.fields[0]}: no word is in the texts of {self.min_tracks} or more training "
                f"tracks (min_tracks), of which {texts:,} have a text; leave this encoder out, or "
                "bring texts of more tracks"
            )
        return {"texts": texts, "words": list(words), "word_tracks": list(words.values())}

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for the words in `info["words"]`, those of the most tracks first."""
        self.words: list[str] = list(info["words"])
        tracks = np.array(info["word_tracks"], dtype=np.float64)
        self.rarity: list[float] = (np.log((1 + info["texts"]) / (1 + tracks)) + 1).tolist()
        sizes = (len(self.words), *self.hidden)
        self.net = dense(sizes, self.dropout)
        self.dim = sizes[-1]

    def reader(self) -> WordReader:
        """Reads texts into TF-IDF vectors over the words."""
        return WordReader(self.fields[0], self.words, self.rarity)

    def feature_names(self) -> list[str]:
        """The words; contributions are measured relative to a text without any of them."""
        return self.words

    def encode(self, values: Tensor) -> Tensor:
        """[B, V] → [B, dim]."""
        encoded: Tensor = self.net(values)
        return encoded
