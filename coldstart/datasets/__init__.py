"""Public data sets → coldstart's tables: one file a data set, one table of them here."""

from __future__ import annotations

from collections.abc import Callable

from coldstart.datasets import fma, hetrec, jamendo, msda, music4all, tasteprofile, yambda

LOADERS: dict[str, Callable[..., None]] = {
    "hetrec-lastfm": hetrec.hetrec_lastfm,
    "music4all-onion": music4all.music4all_onion,
    "yambda": yambda.yambda,
    "taste-profile": tasteprofile.taste_profile,
    "msd-a": msda.msd_a,
    "mtg-jamendo": jamendo.mtg_jamendo,
    "fma": fma.fma,
}
"""Name of a data set → the function that makes its tables."""
