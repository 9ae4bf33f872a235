"""Any image network of timm as an encoder of frames or spectrogram segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import Problem, RecipeError, RunError, ShapeError, did_you_mean
from fusionkit.interfaces import Encoder
from fusionkit.jagged import Jagged
from fusionkit.registry import ENCODERS


@ENCODERS.register("timm")
class TimmImage(Encoder):
    r"""An image network without its classifier: one image to one vector.

    .. math::
        F(x) = \mathrm{Pool}(\mathrm{Network}(x))

    For frames of a film, face crops and the segments that `spectrogram` and `log_mel` cut. Images are float tensors,
    scaled as the weights expect. In training the network's own batch norms see the batch's elements; a batch of a
    single element uses their running statistics. In evaluation no image depends on another.

    Args:
        in_shape: ``(channels, height, width)``.
        model: Name of a timm model, optionally with the tag of its pretrained weights, such as ``resnet18.a1_in1k``.
        in_channels: Channels of the images; None takes them from the data, a number is checked against them.
        weights: A local safetensors file with exactly the network's tensors, without the classifier, named as timm
            names them (or with ``network.`` before, as in this encoder's own state); None starts at random.
        pretrained: Fetch timm's weights of that model through the network; excludes `weights`.
        drop_rate: Dropout before the missing classifier, 0 to below 1, where the network has one.

    Raises:
        RecipeError: timm knows no such model, or both `weights` and `pretrained` are given.
        RunError: `weights` is missing, damaged, or lacks or adds tensors.
        ShapeError: `in_shape` is no image, or a tensor of `weights` has another shape.

    Source:
        Wightman 2019, PyTorch Image Models, https://doi.org/10.5281/zenodo.4414861; the paper uses its ResNet-18:
        He et al. 2016, https://doi.org/10.1109/CVPR.2016.90.

    Example:
        >>> import torch
        >>> encoder = TimmImage((1, 32, 32), model="test_resnet")
        >>> encoder(Jagged(torch.zeros(2, 1, 32, 32), torch.tensor([2]))).values.shape == (2, *encoder.out_shape)
        True
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        *,
        model: str = "resnet18",
        in_channels: Annotated[int, Field(gt=0)] | None = None,
        weights: str | None = None,
        pretrained: bool = False,
        drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        _check_shape(in_shape, in_channels)
        if weights is not None and pretrained:
            raise RecipeError([Problem("pretrained", "given beside weights", "choose one of them")], source="timm")
        self.network = _create(model, in_shape, pretrained=pretrained, drop_rate=drop_rate)
        # Networks with a hidden unit in their head say so here; their `num_features` is the width before it.
        self.out_shape = (int(getattr(self.network, "head_hidden_size", None) or self.network.num_features),)
        if weights is not None:
            _load_strictly(self.network, Path(weights).expanduser())

    def forward(self, elements: Jagged) -> Jagged:
        """Encodes every image."""
        if self.training and elements.total == 1:
            with _running_statistics(self.network):
                return elements.with_values(self.network(elements.values))
        return elements.with_values(self.network(elements.values))


def _check_shape(in_shape: tuple[int, ...], in_channels: int | None) -> None:
    if len(in_shape) != 3:
        raise ShapeError(
            f"timm: an element of shape {tuple(in_shape)} is no image (channels, height, width); "
            "a wave becomes images by spectrogram or log_mel with segment_seconds"
        )
    if in_channels is not None and in_channels != in_shape[0]:
        raise ShapeError(f"timm: in_channels is {in_channels}, but the images have {in_shape[0]} channels")


def _create(model: str, in_shape: tuple[int, ...], *, pretrained: bool, drop_rate: float) -> Any:
    import timm

    # Also keeps names such as "hf-hub:..." out, by which timm would fetch a configuration from anywhere.
    known = timm.list_pretrained() if "." in model else timm.list_models()
    if model not in known:
        remedy = did_you_mean(model, known)
        remedy = remedy if remedy.startswith("did") else "timm.list_models() and timm.list_pretrained() list the names"
        raise RecipeError([Problem("model", f"timm has no model {model!r}", remedy)], source="timm")
    config = timm.get_pretrained_cfg(model)
    sized: dict[str, Any] = {"img_size": in_shape[1:]} if config is not None and config.fixed_input_size else {}
    return timm.create_model(
        model, pretrained=pretrained, in_chans=in_shape[0], num_classes=0, drop_rate=drop_rate, **sized
    )


def _load_strictly(network: nn.Module, path: Path) -> None:
    own = network.state_dict()
    given = _read(path)
    if given and all(name.startswith("network.") for name in given):
        given = {name.removeprefix("network."): tensor for name, tensor in given.items()}
    missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing or unexpected:
        found = [
            f"{what}: {_some(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise RunError(
            f"timm: {path} does not hold this network's tensors; {'; '.join(found)}. "
            "It needs the same model and no classifier"
        )
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            raise ShapeError(
                f"timm: {path}: {name} has shape {tuple(given[name].shape)}, the network's is {tuple(tensor.shape)}"
            )
    network.load_state_dict(dict(given))


def _read(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise RunError(f"timm: weights {path} do not exist")
    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise RunError(f"timm: {path} is no safetensors file, or damaged ({error})") from error
    return tensors


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


@contextmanager
def _running_statistics(network: nn.Module) -> Iterator[None]:
    """Lets batch norms read their running statistics: those of a single element may not exist."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
