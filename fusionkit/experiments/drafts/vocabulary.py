"""The words by which targets, groups and other columns of a table are recognised."""

from __future__ import annotations

TARGETS = frozenset(
    {
        "label",
        "labels",
        "class",
        "classes",
        "target",
        "targets",
        "emotion",
        "emotions",
        "outcome",
        "diagnosis",
        "groundtruth",
        "truth",
    }
)
"""Words that the name of a target has in it."""

WHOLE_TARGETS = frozenset(
    {
        "y",
        "category",
        "activity",
        "gesture",
        "mood",
        "rating",
        "score",
        "grade",
        "severity",
        "valence",
        "arousal",
        "dominance",
        "quality",
        "wear",
        "rul",
        "sentiment",
        "species",
        "digit",
        "response",
        "condition",
        "state",
        "disease",
        "result",
    }
)
"""Whole names of targets, where no column has one of the words."""

ORDERED = frozenset(
    {"rating", "score", "grade", "level", "severity", "stage", "stars", "likert", "quality", "intensity", "rank"}
)
"""Words in the names of targets whose few whole numbers are grades."""

ORDERS = (
    ("very low", "low", "medium", "high", "very high"),
    ("very low", "low", "moderate", "high", "very high"),
    ("none", "mild", "moderate", "severe"),
    ("no", "mild", "moderate", "severe"),
    ("small", "medium", "large"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("very bad", "bad", "neutral", "good", "very good"),
    ("poor", "fair", "good", "very good", "excellent"),
    ("normal", "mild", "moderate", "severe"),
    ("weak", "normal", "strong"),
    ("negative", "neutral", "positive"),
    ("slow", "medium", "fast"),
)
"""Words that have an order, from low to high."""

GROUPS = (
    *("subject", "subjects", "subj", "speaker", "spk", "actor", "patient", "participant", "person", "user", "driver"),
    *("volunteer", "child", "animal", "pid", "machine", "pump", "engine", "device", "unit", "site", "hospital"),
    *("session", "recording", "day", "group"),
)
"""Words in the names of groups, the first before the others."""

IDS = frozenset(
    {
        "id",
        "uid",
        "uuid",
        "index",
        "idx",
        "clip",
        "sample",
        "sample_id",
        "name",
        "filename",
        "file",
        "key",
        "recording",
        "row",
        "no",
        "nr",
        "clip_id",
        "file_id",
    }
)
"""Whole names of columns that name samples."""

PARTS = frozenset({"part", "split", "subset", "partition", "set", "fold"})
"""Last words in the names of columns that divide samples."""

TIMES = frozenset({"timestamp", "datetime", "date"})
"""Words in the names of columns that say when something was recorded."""

RATES = frozenset({"rate", "fs", "hz", "sampling", "samplerate", "sample", "frequency"})
"""Words in the names of columns that say how many elements there are per second."""

STATISTICS = frozenset(
    {
        "mean",
        "std",
        "sd",
        "var",
        "min",
        "max",
        "sum",
        "avg",
        "median",
        "rms",
        "skew",
        "kurtosis",
        "range",
        "total",
        "num",
        "count",
    }
)
"""Words that say how a number was computed; what was measured stands beside them."""

MODALITIES = frozenset(
    {
        "audio",
        "sound",
        "sounds",
        "wav",
        "wavs",
        "speech",
        "voice",
        "video",
        "videos",
        "film",
        "films",
        "image",
        "images",
    }
    | {"images", "frames", "face", "faces", "motion", "acc", "accelerometer", "gyro", "gyroscope", "imu", "sensor"}
    | {"sensors", "eeg", "ecg", "emg", "eda", "ppg", "pose", "skeleton", "depth", "features", "text", "rgb", "radar"}
)
"""Words in the names of folders that hold one modality each."""
