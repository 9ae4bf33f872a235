"""A synthesised voice: a glottal source with a pitch contour, shaped by formants that move with the syllables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.rendering.emotions import CUES
from fusionkit.rendering.statements import CONSONANTS, ROUNDING, VOWELS, Syllable

CONTROL_RATE = 200
"""Steps per second at which pitch, strength and formants move."""

_LOUD = 0.05  # root mean square of a neutral voice before the microphone, full scale 1
_BANDWIDTHS = (70.0, 100.0, 150.0, 250.0)
_COLOUR = 3000.0  # of silence, which has none
_HIGHEST = 8000.0  # the voice has nothing above it, whatever the rate


@dataclass(frozen=True)
class Speaker:
    """A voice without emotion.

    Args:
        base_hz: Mean pitch.
        formant_scale: Factor on every formant: the shorter the vocal tract, the higher.
        tempo: Natural logarithm of the speed.
        breath: 0 to 1.
        brightness: Decibels per octave.
    """

    base_hz: float
    formant_scale: float
    tempo: float
    breath: float
    brightness: float

    @classmethod
    def draw(cls, sex: str, generator: np.random.Generator) -> Speaker:
        """Draws a speaker; pitch and vocal tract of women and men differ as Peterson and Barney measured."""
        hertz, scale = (118.0, 1.0) if sex == "male" else (205.0, 1.16)
        z = generator.standard_normal(5)
        return cls(
            hertz * 2 ** (1.6 * float(z[0]) / 12),
            scale * math.exp(0.035 * z[1]),
            0.05 * float(z[2]),
            min(0.3, 0.05 * abs(float(z[3]))),
            0.8 * float(z[4]),
        )


@dataclass(frozen=True)
class Speech:
    """A spoken statement.

    Args:
        wave: Sound pressure, ``(length,)``, full scale 1.
        rate: Samples per second.
        pitch: Hz at `CONTROL_RATE`.
        loudness: Strength of the voice at `CONTROL_RATE`, 1 for a stressed syllable of a neutral voice.
        opening: How far the mouth is open at `CONTROL_RATE`, 0 to about 1.
        rounding: How rounded (1) or spread (-1) the lips are at `CONTROL_RATE`.
    """

    wave: np.ndarray
    rate: int
    pitch: np.ndarray
    loudness: np.ndarray
    opening: np.ndarray
    rounding: np.ndarray

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return len(self.wave) / self.rate


@dataclass(frozen=True)
class Score:
    """The sounds to be pronounced, step by step at `CONTROL_RATE`.

    Args:
        pitch: Hz.
        strength: Of the voice, 1 for a stressed syllable.
        noise: Of consonants.
        colour: Around which frequency that noise lies, Hz.
        formants: The first four, ``(4, steps)``, Hz.
        openness: Of the vowels, 0 to 1.
        rounding: Of the lips, -1 to 1.
    """

    pitch: np.ndarray
    strength: np.ndarray
    noise: np.ndarray
    colour: np.ndarray
    formants: np.ndarray
    openness: np.ndarray
    rounding: np.ndarray


def speak(
    syllables: Sequence[Syllable],
    cues: np.ndarray,
    speaker: Speaker,
    generator: np.random.Generator,
    *,
    seconds: float = 1.8,
    rate: int = 48000,
) -> Speech:
    r"""Says something.

    .. math::
        X(t, f) = S(t, f) \prod_{k=1}^4 \frac{F_k^2}{F_k^2 - f^2 + i f B_k}

    S is the source's short-time spectrum: pulses of Klatt and Klatt's KLGLOTT88 at the pitch, breath that sounds while
    the glottis is open, and the noise of consonants; F and B are frequencies and bandwidths of the formants.

    Args:
        syllables: What is said.
        cues: How, in the order of `CUES`.
        speaker: Who says it.
        generator: Draws timing, accents, noise.
        seconds: Length at the neutral tempo with the silence around it.
        rate: Samples per second.

    Source:
        Klatt and Klatt 1990, https://doi.org/10.1121/1.398894; formants: `VOWELS`.
    """
    cue = dict(zip(CUES, cues.tolist(), strict=True))
    score = _compose(syllables, cue, speaker, generator, seconds)
    wave = _synthesise(score, cue, speaker, generator, rate)
    gain = _LOUD * 10 ** (cue["energy"] / 20)
    hiss = 10 ** generator.uniform(-3.4, -2.7) * generator.standard_normal(len(wave))
    heard = np.clip(gain * wave + hiss, -1.0, 1.0).astype(np.float32)
    louder = 10 ** (cue["energy"] / 40)
    opening = np.clip(score.strength * (0.35 + 0.65 * score.openness) * louder, 0.0, 1.3)
    return Speech(heard, rate, score.pitch, score.strength, opening, score.rounding)


def _compose(
    syllables: Sequence[Syllable],
    cue: Mapping[str, float],
    speaker: Speaker,
    generator: np.random.Generator,
    seconds: float,
) -> Score:
    """Times syllables and draws the contours of pitch and strength over them."""
    before, after = generator.uniform(0.08, 0.2, size=2)
    weights = np.array([1.35 if s.stressed else 1.0 for s in syllables]) * np.exp(
        0.12 * generator.standard_normal(len(syllables))
    )
    weights[-1] *= 1.3  # speakers lengthen the last syllable
    spoken = (seconds - 0.28) * math.exp(-max(-0.6, min(0.6, cue["tempo"] + speaker.tempo)))
    ends = before + spoken * np.cumsum(weights) / weights.sum()
    starts = np.concatenate([[before], ends[:-1]])
    time = (np.arange(round((before + spoken + after) * CONTROL_RATE)) + 0.5) / CONTROL_RATE
    tract = speaker.formant_scale * math.exp(cue["smile"])
    strength, noise, colour = np.zeros_like(time), np.zeros_like(time), np.full_like(time, _COLOUR)
    middles = (starts + 2 * ends) / 3
    accents = np.array([1.0 if s.stressed else 0.0 for s in syllables]) + 0.25 * generator.standard_normal(
        len(syllables)
    )
    for syllable, start, end in zip(syllables, starts, ends, strict=True):
        now = (time >= start) & (time < end)
        position = (time[now] - start) / (end - start)
        strength[now], noise[now], colour[now] = _pronounce(syllable, position, cue["attack"])
    formants = np.stack(
        [np.interp(time, middles, [tract * VOWELS[s.vowel][k] for s in syllables]) for k in range(3)]
        + [np.full_like(time, 3500.0 * tract)]
    )
    progress = np.clip((time - before) / spoken, 0.0, 1.0)
    wander = _smooth(generator.standard_normal(len(time)), 0.15) * 0.5
    semitones = (
        cue["pitch"]
        + cue["pitch_range"] * (np.interp(time, middles, accents - accents.mean()) + 0.25 - 0.6 * progress + wander)
        + cue["pitch_slope"] * (progress**2 - 0.4)
    )
    tremor = np.sin(2 * math.pi * generator.uniform(5.5, 7.0) * time + generator.uniform(0, 2 * math.pi))
    semitones += 0.6 * max(0.0, cue["tremor"]) * tremor
    strength *= (1 + 0.25 * max(0.0, cue["tremor"]) * tremor) * (1.1 - 0.35 * progress)
    return Score(
        pitch=np.clip(speaker.base_hz * 2 ** (semitones / 12), 55.0, 700.0),
        strength=_smooth(strength, 0.01),
        noise=_smooth(noise, 0.006),
        colour=colour,
        formants=formants,
        openness=np.interp(time, middles, [(VOWELS[s.vowel][0] - 270) / 460 for s in syllables]),
        rounding=np.interp(time, middles, [ROUNDING.get(s.vowel, 0.0) for s in syllables]),
    )


def _pronounce(
    syllable: Syllable, position: np.ndarray, attack: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Returns the strengths of the voice and of a consonant's noise, and its colour, as position runs from 0 to 1."""
    kind, hertz = CONSONANTS[syllable.consonant]
    onset = {"plosive": 0.22, "voiced": 0.16, "fricative": 0.3, "sonorant": 0.12, "none": 0.04}[kind]
    rise = 0.18 - 0.13 * min(1.0, max(0.0, attack))
    vowel = np.clip((position - onset) / rise, 0.0, 1.0) * np.clip((1 - position) / 0.22, 0.0, 1.0)
    hummed = 0.3 * (position < onset + rise) if kind in ("sonorant", "voiced") else 0.0
    strength = (1.0 if syllable.stressed else 0.72) * np.maximum(np.sqrt(vowel), hummed)
    begins, level = {"fricative": (0.0, 0.5), "plosive": (0.1, 0.7), "voiced": (0.08, 0.25)}.get(kind, (0.0, 0.0))
    return strength, level * ((position > begins) & (position < onset)), hertz or _COLOUR


def _synthesise(
    score: Score, cue: Mapping[str, float], speaker: Speaker, generator: np.random.Generator, rate: int
) -> np.ndarray:
    """Synthesises the wave of an utterance, with a root mean square of about 1 in stressed vowels."""
    length = len(score.pitch) * rate // CONTROL_RATE
    steps = np.arange(length) * (CONTROL_RATE / rate) - 0.5
    control = np.arange(len(score.pitch))
    rough, breath = max(0.0, cue["roughness"]), min(1.0, max(0.0, cue["breath"] + speaker.breath))
    pitch = np.interp(steps, control, score.pitch)
    phase = np.cumsum(pitch) / rate
    cycle = phase.astype(np.int64)
    cycles = int(cycle[-1]) + 2
    shift = (0.004 + 0.05 * rough) * generator.standard_normal(cycles)  # jitter, as a shift of each cycle's pulse
    force = np.exp((0.03 + 0.3 * rough) * generator.standard_normal(cycles))  # shimmer
    position = np.clip((phase - cycle + shift[cycle]) % 1.0 / (0.5 + 0.3 * breath), 0.0, 1.0)
    pulses = force[cycle] * np.where(position < 1.0, 2 * position - 3 * position**2, 0.0) * np.sqrt(pitch / 120.0)
    air = generator.standard_normal(length)
    strength = np.interp(steps, control, score.strength)
    voiced = strength * ((1 - 0.6 * breath) * pulses + 0.35 * breath**2 * air * (0.5 + np.sin(math.pi * position)))
    hissing = np.interp(steps, control, score.noise) * generator.standard_normal(length)
    brightness = cue["brightness"] + speaker.brightness
    return _filter(voiced, hissing, score, brightness, rate)


def _filter(voiced: np.ndarray, hissing: np.ndarray, score: Score, brightness: float, rate: int) -> np.ndarray:
    """Filters the source by the vocal tract, frame by frame; frames of four control steps overlap and add up."""
    hop = rate // CONTROL_RATE
    size, count = 4 * hop, len(score.pitch)
    window = np.hanning(size + 1)[:-1] / 2
    hertz = np.fft.rfftfreq(2 * size, 1 / rate)
    kept = hertz < _HIGHEST
    f = hertz[kept][None, :]
    tract = np.ones((count, f.shape[1]), dtype=np.complex128)
    for formant, bandwidth in zip(score.formants, _BANDWIDTHS, strict=True):
        square = formant[:, None] ** 2
        tract *= square / (square - f**2 + 1j * f * bandwidth)
    tilt = 10 ** (brightness * np.log2(np.maximum(f, 125.0) / 500.0) / 20)
    band = np.exp(-0.5 * (np.log2(np.maximum(f, 50.0) / score.colour[:, None]) / 0.45) ** 2)
    # Spectra are twice as long as frames, or the ringing of the tract would wrap round to their beginning.
    frames = [_cut_frames(part, hop, count) * window for part in (voiced, hissing)]
    spectra = [np.fft.rfft(frame, 2 * size, axis=1)[:, kept] for frame in frames]
    shaped = np.zeros((count, len(hertz)), dtype=np.complex128)
    shaped[:, kept] = 2.0 * tilt * tract * spectra[0] + band * spectra[1]
    pieces = np.fft.irfft(shaped, 2 * size, axis=1)
    wave = np.zeros((count + 8) * hop)
    # Pieces begin one hop apart, so parts of one number lie end to end: eight additions, not one for every frame.
    for part in range(8):
        piece = pieces[:, part * hop : (part + 1) * hop].reshape(-1)
        wave[part * hop : part * hop + len(piece)] += piece
    middle = size // 2 - hop // 2
    cut = wave[middle : middle + len(voiced)]
    return np.pad(cut, (0, len(voiced) - len(cut)))


def _cut_frames(signal: np.ndarray, hop: int, count: int) -> np.ndarray:
    """Cuts frames of four hops around the middle of each control step."""
    margin = 2 * hop - hop // 2
    padded = np.pad(signal, (margin, 4 * hop + hop * count))
    return np.lib.stride_tricks.sliding_window_view(padded, 4 * hop)[::hop][:count]


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Smooths by a moving average with a Hann window of twice the length."""
    size = max(3, 2 * round(seconds * CONTROL_RATE) + 1)
    window = np.hanning(size + 2)[1:-1]
    return np.convolve(np.pad(values, size // 2, mode="edge"), window / window.sum(), mode="valid")
