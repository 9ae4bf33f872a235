"""Any image network of timm as an encoder of frames or spectrogram segments."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.config.components.registry import ENCODERS
from fusionkit.errors import Problem, RecipeError, ShapeError, suggest_names
from fusionkit.interfaces import ElementEncoder
from fusionkit.models.encoders.batch_statistics import use_running_statistics
from fusionkit.models.encoders.pixels import Pixels
from fusionkit.models.encoders.weights import load_weights
from fusionkit.nn.activation_checkpointing import count_statistics_once


@ENCODERS.register("timm")
class TimmImage(ElementEncoder):
    r"""An image network without its classifier: one image to one vector.

    .. math::
        F(x) = \mathrm{Pool}(\mathrm{Network}(x))

    For frames of a film, face crops and the segments that `spectrogram` and `log_mel` cut. Bytes are scaled to 0..1,
    floats taken as they are; `mean` and `std` standardise them after that, as pretrained weights expect. In training
    the network's own batch norms see the batch's elements; a batch of a single element uses their running statistics.
    In evaluation no image depends on another.

    Args:
        in_shape: ``(channels, height, width)``.
        model: Name of a timm model, optionally with the tag of its pretrained weights, such as ``resnet18.a1_in1k``.
        in_channels: Channels of the images; None takes them from the data, a number is checked against them.
        weights: A local safetensors file with exactly the network's tensors, without the classifier, named as timm
            names them (or with ``network.`` before, as in this encoder's own state); None starts at random.
        pretrained: Fetch timm's weights of that model through the network; excludes `weights`.
        drop_rate: Dropout before the missing classifier, 0 to below 1, where the network has one.
        mean: Subtracted from every channel: one number, or one per channel.
        std: Divides every channel after that, positive.
        adapt_channels: Lets `weights` of one input channel serve several, and those of several serve one: kernels of
            the first convolution are repeated and divided by the number of channels, or summed over them.

    Raises:
        RecipeError: timm knows no such model, both `weights` and `pretrained` are given, or `mean` or `std` do not fit
            the channels.
        RunError: `weights` is missing, damaged, or lacks or adds tensors.
        ShapeError: `in_shape` is no image, or a tensor of `weights` has another shape.

    Source:
        Wightman 2019, PyTorch Image Models, https://doi.org/10.5281/zenodo.4414861; the paper uses its ResNet-18:
        He et al. 2016, https://doi.org/10.1109/CVPR.2016.90.

    Example:
        >>> from fusionkit.nn.jagged import Jagged
        >>> import torch
        >>> encoder = TimmImage((1, 32, 32), model="test_resnet")
        >>> encoder(Jagged(torch.zeros(2, 1, 32, 32), torch.tensor([2]))).values.shape == (2, *encoder.out_shape)
        True
    """

    whole_numbers = (torch.uint8,)
    suits_one_element = True

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str = "resnet18",
        in_channels: Annotated[int, Field(gt=0)] | None = None,
        weights: str | None = None,
        pretrained: bool = False,
        drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        adapt_channels: bool = False,
    ) -> None:
        super().__init__()
        _check_shape(in_shape, in_channels)
        if weights is not None and pretrained:
            raise RecipeError([Problem("pretrained", "given beside weights", "choose one of them")], source="timm")
        self.pixels = Pixels(in_shape[0], mean, std, source="timm")
        self.network = _create(model, in_shape, pretrained=pretrained, drop_rate=drop_rate)
        # Networks with a hidden unit in their head say so here; their `num_features` is the width before it.
        self.out_shape = (int(getattr(self.network, "head_hidden_size", None) or self.network.num_features),)
        if weights is not None:
            load_weights(self.network, weights, source="timm", adapt_channels=adapt_channels)

    def encode(self, values: Tensor) -> Tensor:
        """Encodes every image."""
        images = self.pixels(values)
        images = images.contiguous(memory_format=torch.channels_last)  # the faster way; see FusionModel.channels_last
        with use_running_statistics(self.network, where=self.training and len(values) == 1):
            vectors: Tensor = self.network(images)
        return vectors

    def recompute_activations(self) -> None:
        """Keeps the inputs of the network's stages only, where timm knows its stages."""
        if not hasattr(self.network, "set_grad_checkpointing"):
            super().recompute_activations()
            return
        try:
            self.network.set_grad_checkpointing(True)
        except (AssertionError, NotImplementedError):  # how timm's networks say that they cannot
            super().recompute_activations()
            return
        count_statistics_once(self.network)


def _check_shape(in_shape: tuple[int, ...], in_channels: int | None) -> None:
    if len(in_shape) != 3:
        raise ShapeError(
            f"timm: an element of shape {tuple(in_shape)} is not an image (channels, height, width); "
            "a wave becomes images by spectrogram or log_mel with segment_seconds"
        )
    if in_channels is not None and in_channels != in_shape[0]:
        raise ShapeError(f"timm: in_channels is {in_channels}, but the images have {in_shape[0]} channels")


def _create(model: str, in_shape: tuple[int, ...], *, pretrained: bool, drop_rate: float) -> Any:
    import timm

    # Also keeps names such as "hf-hub:..." out, by which timm would fetch a configuration from anywhere.
    known = timm.list_pretrained() if "." in model else timm.list_models()
    if model not in known:
        remedy = suggest_names(model, known)
        remedy = remedy if remedy.startswith("did") else "timm.list_models() and timm.list_pretrained() list the names"
        raise RecipeError([Problem("model", f"timm has no model {model!r}", remedy)], source="timm")
    config = timm.get_pretrained_cfg(model)
    sized: dict[str, Any] = {"img_size": in_shape[1:]} if config is not None and config.fixed_input_size else {}
    return timm.create_model(
        model, pretrained=pretrained, in_chans=in_shape[0], num_classes=0, drop_rate=drop_rate, **sized
    )
