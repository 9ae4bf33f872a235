"""Frames and sound as the bytes of a film or of a wave file."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import OutputContainer

FLV_SOUND_RATE = 44100  # mp3 in a Flash film knows 11,025, 22,050 and 44,100 only
_CODECS = {"mp4": ("libx264", "aac"), "flv": ("flv", "libmp3lame")}
_OPTIONS = {
    # Without macroblock trees and look-ahead: with them x264's bytes differ from run to run on processors with AVX-512,
    # on one thread too.
    "libx264": {"preset": "veryfast", "crf": "23", "threads": "1", "x264-params": "no-mbtree=1:rc-lookahead=0"},
    "flv": {"qscale": "3"},
}


def encode_film(
    frames: Iterable[np.ndarray], frame_rate: int, wave_form: np.ndarray | None, sound_rate: int, container: str
) -> bytes:
    """Encodes a film: H.264 and AAC as ``mp4``, Sorenson H.263 and MP3 as ``flv``; one thread, so always the same.

    Args:
        frames: One at least, ``(height, width, 3)``, uint8; width and height are even.
        frame_rate: Frames per second.
        wave_form: ``(length,)``, full scale 1; None makes a silent film without a sound track.
        sound_rate: Samples per second.
        container: ``mp4`` or ``flv``.
    """
    import av

    video_codec, audio_codec = _CODECS[container]
    pictures = iter(frames)
    first = next(pictures)
    target = io.BytesIO()
    with av.open(target, mode="w", format=container) as film:
        video = cast("VideoStream", film.add_stream(video_codec, rate=frame_rate, options=_OPTIONS[video_codec]))
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        sound = None
        if wave_form is not None:
            rate = FLV_SOUND_RATE if container == "flv" else sound_rate
            sound = cast("AudioStream", film.add_stream(audio_codec, rate=rate, layout="mono"))
        for picture in chain([first], pictures):
            film.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(video.encode(None))
        if sound is not None and wave_form is not None:
            _encode_sound(film, sound, wave_form, sound_rate)
    return target.getvalue()


def _encode_sound(film: OutputContainer, sound: AudioStream, wave_form: np.ndarray, sound_rate: int) -> None:
    import av

    context = sound.codec_context
    resampler = av.AudioResampler(format=context.format, layout="mono", rate=context.sample_rate)
    frame = av.AudioFrame.from_ndarray(wave_form[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sound_rate, 0, Fraction(1, sound_rate)
    waiting = av.AudioFifo()
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        part.pts = None
        waiting.write(part)
    written = 0
    for part in waiting.read_many(context.frame_size or 1024, partial=True):
        part.pts, part.time_base = written, Fraction(1, context.sample_rate)
        written += part.samples
        film.mux(sound.encode(part))
    film.mux(sound.encode(None))


def encode_wave(wave_form: np.ndarray, sound_rate: int) -> bytes:
    """Encodes a wave file: one channel, 16 bits.

    Example:
        >>> len(encode_wave(np.zeros(100, dtype=np.float32), 16000))
        244
    """
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound_rate)
        file.writeframes(np.round(np.clip(wave_form, -1, 1) * 32767).astype("<i2").tobytes())
    return target.getvalue()
