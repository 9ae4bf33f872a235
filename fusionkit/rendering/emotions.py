"""Emotions as faces and voices show them: actions, cues, prototypes, and what people confuse them with."""

from __future__ import annotations

from collections.abc import Mapping

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

ACTIONS = (
    "inner_brow_raise",  # 1, in the numbers of FACS
    "outer_brow_raise",  # 2
    "brow_lower",  # 4
    "lid_raise",  # 5
    "cheek_raise",  # 6
    "lid_tighten",  # 7
    "nose_wrinkle",  # 9
    "upper_lip_raise",  # 10
    "lip_corner_pull",  # 12
    "lip_corner_drop",  # 15
    "chin_raise",  # 17
    "lip_stretch",  # 20
    "lip_press",  # 23 and 24
    "jaw_drop",  # 26
    "lid_droop",  # 43, partly
    "head_down",  # 54
)
"""The actions of a face, from 0 to 1: the action units of Ekman and Friesen's FACS that the drawn face knows."""

CUES = (
    "pitch",  # semitones above the speaker's base
    "pitch_range",  # semitones, how far stressed syllables stand out
    "pitch_slope",  # semitones from the first to the last syllable, beside the usual fall
    "tempo",  # natural logarithm of the speed
    "energy",  # decibels
    "brightness",  # decibels per octave above 500 Hz
    "breath",  # 0 to 1: noise in the glottal source
    "roughness",  # 0 to 1: cycles of unequal length and strength
    "tremor",  # 0 to 1: shaking of pitch and strength, 6 to 7 times a second
    "attack",  # 0 to 1: how abruptly syllables begin
    "smile",  # natural logarithm of the shift of formants: spread lips shorten the vocal tract
)
"""The cues of a voice, relative to the speaker's neutral voice."""

FACES: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "calm": {"lip_corner_pull": 0.34, "lid_droop": 0.22, "inner_brow_raise": 0.1, "cheek_raise": 0.1},
    "happy": {"cheek_raise": 0.75, "lip_corner_pull": 0.95, "lid_tighten": 0.1, "upper_lip_raise": 0.2},
    "sad": {
        "inner_brow_raise": 0.9,
        "brow_lower": 0.3,
        "lip_corner_drop": 0.9,
        "chin_raise": 0.6,
        "lid_droop": 0.42,
        "head_down": 0.5,
    },
    "angry": {"brow_lower": 1.0, "lid_raise": 0.35, "lid_tighten": 0.6, "lip_press": 0.8, "chin_raise": 0.2},
    "fearful": {
        "inner_brow_raise": 0.95,
        "outer_brow_raise": 0.35,
        "brow_lower": 0.45,
        "lid_raise": 0.9,
        "lip_stretch": 0.95,
        "lip_corner_drop": 0.25,
        "jaw_drop": 0.22,
    },
    "disgust": {
        "brow_lower": 0.6,
        "lid_tighten": 0.9,
        "nose_wrinkle": 1.0,
        "upper_lip_raise": 0.9,
        "lip_corner_drop": 0.75,
        "chin_raise": 0.5,
    },
    "surprised": {"inner_brow_raise": 0.95, "outer_brow_raise": 1.0, "lid_raise": 0.85, "jaw_drop": 0.8},
}
"""The prototype of each emotion in the face; what is not named is 0."""

VOICES: Mapping[str, Mapping[str, float]] = {
    "neutral": {"pitch_range": 1.6, "breath": 0.12},
    "calm": {"pitch": -1.2, "pitch_range": 1.1, "tempo": -0.12, "energy": -3, "brightness": -1.2, "breath": 0.3},
    "happy": {
        "pitch": 4,
        "pitch_range": 3.6,
        "tempo": 0.08,
        "energy": 4,
        "brightness": 1.2,
        "breath": 0.08,
        "attack": 0.4,
        "smile": 0.07,
    },
    "sad": {
        "pitch": -1.0,
        "pitch_range": 0.8,
        "pitch_slope": -2,
        "tempo": -0.2,
        "energy": -5,
        "brightness": -2.2,
        "breath": 0.5,
        "tremor": 0.2,
        "smile": -0.03,
    },
    "angry": {
        "pitch": 3.4,
        "pitch_range": 3.2,
        "pitch_slope": -1,
        "tempo": 0.1,
        "energy": 7,
        "brightness": 2.6,
        "breath": 0.05,
        "roughness": 0.55,
        "attack": 1.0,
    },
    "fearful": {
        "pitch": 5.5,
        "pitch_range": 1.8,
        "pitch_slope": 1,
        "tempo": 0.2,
        "energy": 1,
        "brightness": 0.4,
        "breath": 0.4,
        "roughness": 0.25,
        "tremor": 0.9,
        "attack": 0.3,
    },
    "disgust": {
        "pitch": -2.2,
        "pitch_range": 2.2,
        "pitch_slope": -2,
        "tempo": -0.2,
        "energy": 1,
        "brightness": 0.8,
        "breath": 0.15,
        "roughness": 0.8,
        "attack": 0.5,
        "smile": -0.06,
    },
    "surprised": {
        "pitch": 5.5,
        "pitch_range": 4.0,
        "pitch_slope": 6,
        "tempo": 0.02,
        "energy": 3,
        "brightness": 0.6,
        "breath": 0.2,
        "attack": 0.5,
    },
}
"""The prototype of each emotion in the voice; what is not named is 0."""

FACE_CONFUSIONS: Mapping[str, Mapping[str, float]] = {
    "neutral": {"calm": 0.24, "sad": 0.08},
    "calm": {"neutral": 0.26, "happy": 0.06},
    "happy": {"calm": 0.10, "surprised": 0.04},
    "sad": {"neutral": 0.08, "fearful": 0.11, "disgust": 0.05},
    "angry": {"disgust": 0.21, "neutral": 0.05},
    "fearful": {"surprised": 0.24, "sad": 0.06},
    "disgust": {"angry": 0.22, "sad": 0.04},
    "surprised": {"fearful": 0.19, "happy": 0.03},
}
"""Faces that lean towards another emotion: the share of clips, by the emotion that was meant."""

VOICE_CONFUSIONS: Mapping[str, Mapping[str, float]] = {
    "neutral": {"calm": 0.16, "sad": 0.10, "disgust": 0.05},
    "calm": {"neutral": 0.18, "sad": 0.18},
    "happy": {"angry": 0.12, "surprised": 0.16, "fearful": 0.05},
    "sad": {"calm": 0.19, "neutral": 0.10, "fearful": 0.05},
    "angry": {"happy": 0.19, "disgust": 0.08},
    "fearful": {"surprised": 0.10, "happy": 0.08, "sad": 0.10},
    "disgust": {"neutral": 0.13, "angry": 0.10, "sad": 0.10},
    "surprised": {"happy": 0.21, "fearful": 0.11},
}
"""The same for the voice."""

CUE_SPREAD: Mapping[str, float] = {
    "pitch": 0.7,
    "pitch_range": 0.35,
    "pitch_slope": 0.7,
    "tempo": 0.045,
    "energy": 1.0,
    "brightness": 0.4,
    "breath": 0.06,
    "roughness": 0.07,
    "tremor": 0.08,
    "attack": 0.1,
    "smile": 0.015,
}
"""One unit of variation of each cue, in the cue's own unit; of each action it is `ACTION_SPREAD`."""

ACTION_SPREAD = 0.08
STRENGTHS: Mapping[str, float] = {"low": 0.55, "normal": 0.85, "strong": 1.2}
"""The share of the way to the prototype, by intensity."""
