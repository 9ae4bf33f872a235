"""Films and sounds of a fraction of a second, whole ones and broken ones, and a dataset of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from fusionkit.config.recipe import build_component
from fusionkit.config.schema import PrepareSpec
from fusionkit.data.films.clips import Outcome, prepare_clip
from fusionkit.interfaces import Clip, Dataset, Row

WIDTH, HEIGHT, RATE, SOUND_RATE = 64, 48, 10, 16000
SIZE = 16
B_FRAMES = {"bf": "2", "b_strategy": "0"}
"""What makes encoders write every second and third frame after the one that follows it."""


def flat(colour: Sequence[int], count: int = 12) -> list[np.ndarray]:
    """Images of one colour."""
    return [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for _ in range(count)]


def steps(count: int = 12) -> list[np.ndarray]:
    """Images of one grey each, a step brighter than the one before."""
    return [np.full((HEIGHT, WIDTH, 3), 40 + 12 * (i % 16), np.uint8) for i in range(count)]


def tone(seconds: float, *, loudness: float = 0.5, rate: int = SOUND_RATE, hertz: float = 440.0) -> np.ndarray:
    """A sine."""
    sine: np.ndarray = (loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")
    return sine


def write_sound(path: Path, wave: np.ndarray, *, subtype: str = "PCM_16", rate: int = SOUND_RATE) -> Path:
    """A wav file."""
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


def write_film(
    path: Path,
    images: Sequence[np.ndarray] = (),
    *,
    wave: np.ndarray | None = None,
    codec: str = "libx264",
    rate: int = RATE,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound_codec: str = "aac",
    sound_late: float = 0.0,
    aspect: Fraction | None = None,
    sound_first: bool = False,
    timecode: str = "",
    encoder: Mapping[str, str] | None = None,
    **options: str,
) -> Path:
    """A film of images, with sound where a wave is given; its picture stream is left out without images.

    Args:
        path: Its ending says the container.
        images: The frames.
        wave: The sound at 16 kHz.
        codec: The picture's codec.
        rate: Frames per second.
        pts: Time stamps of the frames; one after another when left out.
        time_base: Seconds of a tick of them.
        sound_codec: The sound's codec.
        sound_late: Seconds by which the sound's time stamps are later.
        aspect: The width of a pixel by its height; not stated when left out.
        sound_first: Whether the sound is the first stream of the file.
        timecode: What a stream of data says, beside picture and sound of a mov.
        encoder: What the picture's codec is told, such as ``B_FRAMES``.
        **options: What the container is told, such as ``movflags="faststart"``.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update({"timecode": timecode} if timecode else {})
        picture: Any = None
        sound: Any = container.add_stream(sound_codec, rate=SOUND_RATE, layout="mono") if sound_first else None
        if len(images):
            picture = container.add_stream(codec, rate=rate)
            picture.width, picture.height, picture.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv420p"
            picture.thread_count = 1
            picture.options = {**({"qp": "1"} if codec == "libx264" else {"qscale": "1"}), **(encoder or {})}
            if aspect is not None:
                picture.codec_context.sample_aspect_ratio = aspect
            if time_base is not None:
                picture.time_base = picture.codec_context.time_base = time_base
        if wave is not None and sound is None:
            sound = container.add_stream(sound_codec, rate=SOUND_RATE, layout="mono")
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (index if pts is None else pts[index]), time_base or Fraction(1, rate)
            container.mux(picture.encode(frame))
        if wave is not None:
            _mux_sound(container, sound, wave, sound_late)
        if picture is not None:
            container.mux(picture.encode(None))
    return path


def _mux_sound(container: Any, stream: Any, wave: np.ndarray, late: float) -> None:
    import av

    form = "fltp" if stream.codec_context.name == "aac" else "s16"
    values = wave if form == "fltp" else (wave * 32767).round().astype("i2")
    size = 1024 if form == "fltp" else 1152
    for begin in range(0, len(values), size):
        frame = av.AudioFrame.from_ndarray(values[None, begin : begin + size].copy(), format=form, layout="mono")
        frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
        frame.pts = begin + round(late * SOUND_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def cut_short(path: Path, share: float = 0.5) -> Path:
    """Leaves the beginning of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


class Films(Dataset):
    """Clips by id, each with one of two labels in turn."""

    def __init__(self, clips: Mapping[str, Clip]) -> None:
        self.modalities, self.classes, self.clips = {}, {}, dict(clips)
        self.rows = [
            Row(name, group=str(i // 2), part=None, targets={"label": "ab"[i % 2]}, place=name)
            for i, name in enumerate(clips)
        ]

    def load(self, index: int) -> Mapping[str, Tensor]:
        """Nothing: films are prepared."""
        raise NotImplementedError


def spec_for(
    cache: Path, *, detector: str = "center", face: Mapping[str, Any] | None = None, **keys: Any
) -> PrepareSpec:
    """How they are prepared: at their own rate, to small crops."""
    return PrepareSpec.model_validate(
        {
            "cache": str(cache),
            "frame_rate": RATE,
            "face": {"size": SIZE, "detector": {"type": detector}, **(face or {})},
            **keys,
        }
    )


def made(clip: Clip, cache: Path, **keys: Any) -> Outcome:
    """What becomes of a clip by itself."""
    spec = spec_for(cache, **keys)
    return prepare_clip(clip, spec, build_component(spec.face.detector))


def greys(crops: Tensor) -> np.ndarray:
    """The mean brightness of every crop."""
    means: np.ndarray = crops.to(torch.float64).mean(dim=(1, 2, 3)).numpy()
    return means
