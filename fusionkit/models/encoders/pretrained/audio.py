"""Pretrained networks of speech and sound as encoders of waves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.config.field_marks import ANY_ORDER
from fusionkit.errors import Problem, RecipeError, ShapeError
from fusionkit.models.encoders.pretrained.architecture import Architecture, find_architecture
from fusionkit.models.encoders.pretrained.hub import Source
from fusionkit.models.encoders.pretrained.network import (
    HiddenStates,
    Layers,
    Weights,
    build_network,
    count_layers,
    refuse_what_fails,
)
from fusionkit.models.encoders.pretrained.spectra import AstWaves, WhisperWaves
from fusionkit.models.encoders.pretrained.speech import SpeechWaves
from fusionkit.models.encoders.pretrained.windows import WindowEncoder
from fusionkit.nn.jagged import Jagged

_SECONDS = 30.0
"""The longest window of networks that have no length of their own."""

_HOP = ("hop_length", 160)
"""Samples between the columns of Whisper's spectrogram, where its file states none."""


@ENCODERS.register("hf_audio")
class HfAudio(WindowEncoder):
    r"""A pretrained network of speech or sound: a wave to a sequence of vectors.

    .. math::
        F(x) = h\bigl(\mathrm{Network}(\mathrm{Features}(x))\bigr)

    For networks of transformers: wav2vec 2.0 and MMS, HuBERT, WavLM, data2vec, the encoder of Whisper, AST. The wave
    has the network's own rate, 16 kHz. The network's own features are computed inside, on the device: a clip is
    normalised, or becomes the log-mel spectrogram that the network was trained on. A vector stands for 20 ms, of AST
    for 100 ms (its patches of one time, averaged). Longer clips than a window are cut into several, which are encoded
    one by one; Whisper and AST have windows of fixed length (30 and 10 s, or what their files say), behind the last of
    which silence is added and cut off again. A clip's vectors do not depend on the other clips of its batch.
    SpecAugment and dropped layers are off; dropout is the network's own.

    Args:
        in_shape: Shape of an element of the wave, ``()`` or ``(1,)``.
        model: Name on the Hugging Face hub, or a folder with config.json. What was downloaded is used without asking.
        revision: Branch, tag or commit of a name; null for the main branch. A training writes the commit here.
        weights: ``pretrained``, ``none`` for random numbers, or a safetensors file: of the network, of a larger one
            that holds it, or of this encoder (``train.export``).
        layers: ``last``; the number of a layer whose output is taken, without those above it; ``weighted`` for a
            learned sum of all hidden states, as in SUPERB.
        sample_rate: Samples per second of the wave; another than the network's is refused.
        window_seconds: Longest window, positive; null for that of the network, or 30 s where it has none. Whisper takes
            shorter ones too: it then hears less silence behind a clip than it was trained with, and costs less.
        architecture: The network's config and preparation as plain data. Leave it out: a training writes it into the
            run, which then needs neither hub nor folder.

    Raises:
        ShapeError: `in_shape` is no mono wave.
        RecipeError: transformers is not installed, the model is not there, is no network for sound, or has no such
            layer, rate or window.
        RunError: `weights` is missing, damaged, or lacks tensors.

    Source:
        Baevski et al. 2020, https://arxiv.org/abs/2006.11477; Hsu et al. 2021, https://arxiv.org/abs/2106.07447; Chen
        et al. 2021, https://arxiv.org/abs/2110.13900; Baevski et al. 2022, https://arxiv.org/abs/2202.03555; Radford et
        al. 2022, https://arxiv.org/abs/2212.04356; Gong et al. 2021, https://arxiv.org/abs/2104.01778. The weighted
        sum: Yang et al. 2021, https://arxiv.org/abs/2105.01051. Of what is padded, no norm and no convolution takes
        notice here; in transformers some do.

    Example:
        >>> config = {"model_type": "wavlm", "hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
        >>> written = {"config": config}  # as a run holds it; transformers is imported here
        >>> HfAudio((), model="tiny", weights=None, architecture=written).out_shape
        (48,)
    """

    signal = "audio"
    whole_numbers = ()

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str,
        revision: str | None = None,
        weights: Weights = "pretrained",
        layers: Layers = "last",
        sample_rate: Annotated[int, Field(gt=0)] = 16_000,
        window_seconds: Annotated[float, Field(gt=0)] | None = None,
        architecture: Annotated[dict[str, Any] | None, ANY_ORDER] = None,
    ) -> None:
        super().__init__()
        if tuple(in_shape) not in ((), (1,)):
            raise ShapeError(f"an element of shape {tuple(in_shape)} is not a sample of a mono wave, () or (1,)")
        source = Source("hf_audio", model, revision)
        found = find_architecture(source, "audio", architecture)
        rate = found.read_count("sampling_rate", 16_000, source)
        if sample_rate != rate:
            message, remedy = f"{model} hears {rate} samples per second, not {sample_rate}", f"resample to {rate}"
            raise RecipeError([Problem("sample_rate", message, remedy)], source="hf_audio")
        fixed = _shorten(found, source, window_seconds)
        self.network = build_network(found, source, weights=weights, layers=layers, fixed=fixed)
        self.states = HiddenStates(layers, count_layers(self.network, found.family))
        self.waves: SpeechWaves | WhisperWaves | AstWaves
        kind = found.config["model_type"]
        with refuse_what_fails(source):
            if kind == "whisper":
                size = found.read_count("n_fft", 400, source)
                self.waves = WhisperWaves(self.network, rate, size, found.read_count(*_HOP, source))
            elif kind == "audio-spectrogram-transformer":
                self.waves = AstWaves(self.network, found.preparation, rate)
            else:
                normalize = bool(found.preparation.get("do_normalize", True))
                window = round((window_seconds or _SECONDS) * rate)
                self.waves = SpeechWaves(self.network, normalize=normalize, window=window, source="hf_audio")
        if window_seconds is not None and round(window_seconds * rate) != self.waves.window:
            message = f"{window_seconds} s are no window of {model}"
            remedy = f"leave it out for {self.waves.window / rate:g} s"
            raise RecipeError([Problem("window_seconds", message, remedy)], source="hf_audio")
        self.window, self.least = self.waves.window, self.waves.least
        self.out_shape = (int(self.network.config.hidden_size),)

    def prepare(self, elements: Jagged) -> Jagged:
        """Prepares whole clips."""
        return self.waves.prepare(elements.with_values(elements.values.reshape(-1)))

    def encode_windows(self, windows: Tensor, sizes: Tensor | None) -> Tensor:
        """Encodes windows of waves."""
        encoded: Tensor = self.waves(self.network, self.states, windows, sizes)
        return encoded

    def count_encoded(self, sizes: Tensor) -> Tensor:
        """Counts the vectors of windows."""
        return self.waves.count(sizes)


def _shorten(found: Architecture, source: Source, seconds: float | None) -> dict[str, Any]:
    """Fixes the positions of Whisper that a window of so many seconds has; nothing where it is none of its windows."""
    positions = found.config.get("max_source_positions", 1500)
    if found.config["model_type"] != "whisper" or seconds is None or not isinstance(positions, int):
        return {}
    step = 2 * found.read_count(*_HOP, source)
    wanted = round(seconds * found.read_count("sampling_rate", 16_000, source))
    fits = wanted % step == 0 and 2 * step <= wanted <= positions * step
    return {"max_source_positions": wanted // step} if fits else {}
