"""Lyrics, or artists' biographies, for coldstart: TF-IDF through dense layers.

In the manner of the text branch of Oramas et al., "A Deep Multimodal Approach for Cold-start Music
Recommendation" (DLRS 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed


def text_of(sample: Sample, field: str) -> str:
    """A track's text."""
    try:
        return str(sample[field], "utf-8")
    except UnicodeDecodeError as error:
        raise malformed(sample, field, f"not UTF-8 ({error})") from error


class TextReader(WholeTrack):
    """Reads texts into TF-IDF vectors, in the loader's workers.

    With 5,000 words it pickles to 110 kB.
    """

    def __init__(self, field: str, words: Sequence[str], idf: Sequence[float]) -> None:
        self.field, self.width = field, len(words)
        self.tfidf = TfidfVectorizer(vocabulary=words, dtype=np.float32)
        self.tfidf.idf_ = np.array(idf, np.float32)

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, V].

        A text without any word of the vocabulary counts as present: the track has a text.
        """
        values = torch.zeros(len(samples), self.width)
        present = torch.tensor([self.field in sample for sample in samples], dtype=torch.bool)
        if texts := [text_of(sample, self.field) for sample in samples if self.field in sample]:
            values[present] = torch.from_numpy(self.tfidf.transform(texts).toarray())
        return Modality(values, present)


class Lyrics(Encoder):
    """TF-IDF of lyrics or biographies through a dense net."""

    interface = 1
    fields: tuple[str, ...] = ("lyrics.txt",)

    def __init__(
        self,
        hidden: Sequence[int] = (512,),
        dropout: float = 0.5,
        max_words: int = 5000,
        modality: str = "lyrics",
    ) -> None:
        """Dense layers of these widths; the last one is what fusion gets.

        Args:
            hidden: widths of the layers, at least one.
            dropout: share of units dropped after each layer while training.
            max_words: size of the vocabulary: the most frequent words of the training tracks.
            modality: folder of the shards: NAME in `coldstart shard --texts.NAME FILE`.
        """
        super().__init__()
        if not hidden or min(hidden) < 1 or max_words < 1:
            raise InputError("Lyrics: hidden is one width or more; each, and max_words, at least 1")
        if not modality.isidentifier():
            raise InputError(f"Lyrics: modality {modality!r} can't be the name of a modality")
        self.hidden, self.dropout, self.max_words = tuple(hidden), dropout, max_words
        self.fields = (f"{modality}.txt",)
        self.dim = self.hidden[-1]

    def learn(self, samples: Iterable[Sample]) -> dict[str, Any]:
        """The training tracks' words, and how rare each is."""
        tfidf = TfidfVectorizer(max_features=self.max_words, dtype=np.float32)
        try:
            tfidf.fit(text_of(sample, self.fields[0]) for sample in samples)
        except InputError:  # a malformed text; it is a ValueError too
            raise
        except ValueError as error:
            raise InputError(f"{self.fields[0]}: no training track has a word ({error})") from error
        return {"words": tfidf.get_feature_names_out().tolist(), "idf": tfidf.idf_.tolist()}

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for the vocabulary that `learn` has returned."""
        self.words, self.idf = list(info["words"]), list(info["idf"])
        self.net = dense((len(self.words), *self.hidden), self.dropout)

    def reader(self) -> TextReader:
        """Reads texts into TF-IDF vectors over the vocabulary."""
        return TextReader(self.fields[0], self.words, self.idf)

    def feature_names(self) -> list[str]:
        """The words: `recommend --why` says what each of them added."""
        return self.words

    def encode(self, values: Tensor) -> Tensor:
        """[B, V] → [B, dim]."""
        encoded: Tensor = self.net(values)
        return encoded

    def describe(self, values: Tensor) -> Tensor:
        """The TF-IDF itself, for nearest neighbours and ridge. [B, V] → [B, V]."""
        return values
