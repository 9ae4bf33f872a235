"""The statements of the actors, as syllables that a synthesised voice can pronounce."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VOWELS: Mapping[str, tuple[float, float, float]] = {
    "i": (270, 2290, 3010),
    "I": (390, 1990, 2550),
    "E": (530, 1840, 2480),
    "a": (660, 1720, 2410),
    "A": (730, 1090, 2440),
    "O": (570, 840, 2410),
    "U": (440, 1020, 2240),
    "u": (300, 870, 2240),
    "V": (640, 1190, 2390),
    "R": (490, 1350, 1690),
    "@": (500, 1500, 2450),
}
"""The first three formants of men in Hz (Peterson and Barney 1952, table II; ``@``, a neutral tract, is ours)."""

ROUNDING: Mapping[str, float] = {"i": -0.6, "I": -0.4, "E": -0.3, "a": -0.2, "O": 0.7, "U": 0.7, "u": 1.0, "R": 0.3}
"""Shape of the lips in a vowel: 1 is rounded, -1 spread."""

CONSONANTS: Mapping[str, tuple[str, float]] = {
    "p": ("plosive", 900),
    "t": ("plosive", 4000),
    "k": ("plosive", 2000),
    "b": ("voiced", 700),
    "d": ("voiced", 3500),
    "g": ("voiced", 1800),
    "s": ("fricative", 6000),
    "S": ("fricative", 3200),
    "f": ("fricative", 5000),
    "h": ("fricative", 1500),
    "D": ("voiced", 5000),
    "m": ("sonorant", 0),
    "n": ("sonorant", 0),
    "l": ("sonorant", 0),
    "r": ("sonorant", 0),
    "w": ("sonorant", 0),
    "j": ("sonorant", 0),
    "-": ("none", 0),
}
"""By consonant, how it is made and around which frequency its noise lies, in Hz."""

RAVDESS_STATEMENTS: Mapping[int, str] = {
    1: "kI'dz Ar tO' kIn bA' D@ dO'r",  # kids are talking by the door
    2: "dO'gz Ar sI' tIn bA' D@ dO'r",  # dogs are sitting by the door
}

CREMA_D_STATEMENTS: Mapping[str, str] = {
    "IEO": "-Is I lE' v@n @ klO'k",  # it's eleven o'clock
    "TIE": "Da' dIz Ig za' klI wVt ha' p@nd",  # that is exactly what happened
    "IOM": "-Am On mA' wE tu D@ mi' tIn",  # I'm on my way to the meeting
    "IWW": "-A wV'n dR wVt DI sI z@ bA'U",  # I wonder what this is about
    "TAI": "Di E'r plEn Iz O'l mOs fU'l",  # the airplane is almost full
    "MTI": "mE' bi tU mA' rO It wIl bi kO'ld",  # maybe tomorrow it will be cold
    "IWL": "-A wUd lA'k @ nju' @ lA'rm klAk",  # I would like a new alarm clock
    "ITH": "-A fI'nk -A hav @ dA'k tRs @ pO'In m@nt",  # I think I have a doctor's appointment
    "DFA": "dOnt fR gE't @ Sa' kIt",  # don't forget a jacket
    "ITS": "-A fI'nk -Av sin DI's bi fO'r",  # I think I've seen this before
    "TSI": "D@ sR' f@s Iz slI'k",  # the surface is slick
    "WSI": "wil stA'p In @ kV' p@l @v mI' n@s",  # we'll stop in a couple of minutes
}


@dataclass(frozen=True)
class Syllable:
    """A consonant and a vowel.

    Args:
        consonant: A key of `CONSONANTS`.
        vowel: A key of `VOWELS`.
        stressed: Whether it is longer, louder and higher.
    """

    consonant: str
    vowel: str
    stressed: bool


def pronounce(text: str) -> tuple[Syllable, ...]:
    """Reads syllables: the first consonant and the first vowel of each word count, an apostrophe marks stress.

    Example:
        >>> [(s.consonant, s.vowel, s.stressed) for s in pronounce("kI'dz Ar")]
        [('k', 'I', True), ('-', 'A', False)]
    """
    return tuple(
        Syllable(
            next((sign for sign in word[:1] if sign in CONSONANTS), "-"),
            next(sign for sign in word if sign in VOWELS),
            "'" in word,
        )
        for word in text.split()
    )
