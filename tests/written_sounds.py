"""Compressed sounds of a second, and files that were joined of several."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

CODECS = {
    ".m4a": "aac",
    ".aac": "aac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".mka": "aac",
    ".webm": "libopus",
    ".mp4": "aac",
    ".aiff": "pcm_s16be",
}
RATE = 48_000


def sine(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    """A tone at half of full scale."""
    wave: np.ndarray = (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)
    return wave


def encode(file: Path, channels: np.ndarray, rate: int = RATE, **options: str) -> Path:
    """Writes ``(channels, length)`` in the codec of the file's ending."""
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream(CODECS[file.suffix], rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, layout, rate, stream.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return file


def join(file: Path, *parts: Path) -> Path:
    """Writes one file behind the other."""
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    return file


def level_at(wave: torch.Tensor, hertz: float, rate: int) -> float:
    """The amplitude of one frequency."""
    angle = 2 * torch.pi * hertz * torch.arange(len(wave), dtype=torch.float64) / rate
    return 2 * abs(complex((wave * torch.cos(angle)).mean(), (wave * torch.sin(angle)).mean()))
