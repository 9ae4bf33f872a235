"""Networks of transformers, built as encoders use them: of a known family, with the layers that are wanted."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from fusionkit.config.initial_weights import PRETRAINED
from fusionkit.errors import FusionKitError, Problem, RecipeError, RunError
from fusionkit.interfaces import Encoder
from fusionkit.models.encoders.pretrained.architecture import Architecture, complete_options
from fusionkit.models.encoders.pretrained.families import Family, Signal
from fusionkit.models.encoders.pretrained.hub import Source, find_weights
from fusionkit.models.encoders.weights import list_names, read_weights
from fusionkit.nn.memory import is_full

Layers = Literal["last", "weighted"] | Annotated[int, Field(ge=1)]
"""The hidden state that is taken: the network's output, a learned sum of all, or that of the layer of a number."""


def _read_none(value: object) -> object:
    return None if value == "none" else value


Weights = Annotated[str | None, BeforeValidator(_read_none)]
"""``pretrained``, a safetensors file, or ``none``, which is read as None."""


class PretrainedEncoder(Encoder):
    """An encoder around a network of transformers, ``network``; it is registered as ``hf_`` and its signal."""

    signal: ClassVar[Signal]
    network: Any

    @classmethod
    def complete(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes the network's architecture into the options of a recipe."""
        return complete_options(options, cls.signal, f"hf_{cls.signal}")

    def recompute_activations(self) -> None:
        """Keeps the inputs of the network's layers only, for a backward pass that computes the rest again."""
        self.network.activation_checkpointing_enable({"use_reentrant": False})


class HiddenStates(nn.Module):
    r"""The hidden states that are taken of a network.

    .. math::
        h = h_L \qquad\text{or}\qquad h = \sum_{l=0}^{L} \mathrm{softmax}(w)_l \, h_l

    Args:
        layers: ``weighted`` for the sum of what goes into the first layer and comes out of every one; anything else
            for what the network gives.
        count: Layers of the network.
    """

    def __init__(self, layers: Layers, count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(count + 1)) if layers == "weighted" else None

    def take(self, network: nn.Module, *inputs: Any, **options: Any) -> Tensor:
        """Runs the network and returns its hidden states alone."""
        states: Tensor = self(network, *inputs, **options)[0]
        return states

    def forward(self, network: nn.Module, *inputs: Any, **options: Any) -> tuple[Tensor, Any]:
        """Runs the network; the hidden states ``(rows, tokens, width)``, and all that it gives."""
        if self.logits is None:
            output: Any = network(*inputs, **options)
            return output.last_hidden_state, output
        output = network(*inputs, **options, output_hidden_states=True)
        shares = self.logits.softmax(dim=0)
        return sum(share * state for share, state in zip(shares, output.hidden_states, strict=True)), output


def build_network(
    architecture: Architecture,
    source: Source,
    *,
    weights: str | None,
    layers: Layers,
    fixed: Mapping[str, Any] | None = None,
    unused: Sequence[str] = (),
) -> Any:
    """Builds a network and gives it its weights.

    A network of which an inner layer is taken has no layers above it, and no normalisation behind it.

    Args:
        architecture: Its architecture.
        source: Where its files are.
        weights: ``pretrained``, a file, or None for random weights.
        layers: The layers that are taken.
        fixed: Values of its config that the encoder fixes, beside those of its family.
        unused: Parts that the encoder does not use, beside those of its family.

    Raises:
        RecipeError: transformers is missing, the network has no such layer, or cannot be built of its config.
        RunError: A file is missing, damaged, or lacks tensors.
    """
    family = architecture.family
    config = _make_config(architecture, layers, {**family.fixed, **(fixed or {})}, source)
    cls = getattr(_import(family, "modeling", source), family.network)
    behind = family.norm and (not family.norm_follows or getattr(config, family.norm_follows, False))
    dropped = [*family.unused, *unused, *([family.norm] if layers != "last" and behind else [])]
    if weights is None:
        with refuse_what_fails(source), _without_reports():
            network = cls(config, **family.options)
    else:
        files = find_weights(source) if weights == PRETRAINED else [_find_file(weights, source)]
        network = _load(cls, config, family, files=files, dropped=dropped, source=source)
    for name in dropped:
        _drop(network, name, nn.Identity() if name == family.norm else None)
    return network.train()


def count_layers(network: Any, family: Family) -> int:
    """Counts the layers of a network whose layers can be chosen; 0 of another."""
    return int(getattr(network.config, family.layers)) if family.layers else 0


def _import(family: Family, kind: str, source: Source) -> Any:
    """Imports a module of transformers, which takes seconds and a gigabyte: where a network is built, and no sooner."""
    folder, _, file = family.module.rpartition(".")
    try:
        return importlib.import_module(f"transformers.models.{folder}.{kind}_{file}")
    except ImportError as error:
        install = "install it with `pip install -U 'fusionkit-multimodal[transformers]'`"
        message = f"{source.encoder} needs the package transformers, with its {family.network} ({error})"
        raise RecipeError([Problem("type", message, install)], source=source.encoder) from None


def _make_config(architecture: Architecture, layers: Layers, fixed: Mapping[str, Any], source: Source) -> Any:
    family = architecture.family
    cls = getattr(_import(family, "configuration", source), family.config)
    known = inspect.signature(cls.__init__).parameters
    given = {**architecture.config, **fixed}
    with refuse_what_fails(source), _without_reports():
        # A config takes any key and keeps it; a stranger's may hold only what its class has.
        config = cls(**{key: value for key, value in given.items() if key in known})
        config.return_dict = True
    if layers == "last":
        return config
    if not family.layers:
        message = f"the layers of {source.model} have several widths, and none can be chosen"
        raise RecipeError([Problem("layers", message, "take `last`")], source=source.encoder)
    count = getattr(config, family.layers)
    if isinstance(layers, int):
        if layers > count:
            message = f"{source.model} has {count} layers, none of the number {layers}"
            raise RecipeError([Problem("layers", message, f"1 to {count}, last or weighted")], source=source.encoder)
        setattr(config, family.layers, layers)
    return config


def _load(
    cls: Any, config: Any, family: Family, *, files: Sequence[Path], dropped: Sequence[str], source: Source
) -> Any:
    tensors = {name: tensor for file in files for name, tensor in read_weights(file, source=source.encoder).items()}
    tensors = _choose_tensors(tensors, family)
    if family.positions in tensors:
        tensors[family.positions] = tensors[family.positions][: config.max_source_positions]
    with refuse_what_fails(source), _without_reports():
        network, found = cls.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **family.options,
        )
    needed = [name for name in found["missing_keys"] if not any(name.startswith(f"{part}.") for part in dropped)]
    needed = [name for name in needed if name not in dropped]
    if needed:
        raise RunError(f"{source.encoder}: {files[0]} lacks tensors of this network: {list_names(sorted(needed))}")
    if found["mismatched_keys"]:
        name, there, wanted = sorted(found["mismatched_keys"])[0]
        shapes = f"{name} has shape {tuple(there)}, the network's is {tuple(wanted)}"
        raise RunError(f"{source.encoder}: {files[0]} is of another network: {shapes}")
    return network


def _choose_tensors(tensors: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Chooses the tensors of a network in a file that may hold a larger one, or an encoder of ours."""
    for prefix in ("network.", *family.prefixes):
        inside = {name.removeprefix(prefix): of for name, of in tensors.items() if name.startswith(prefix)}
        if inside:
            return inside
    return dict(tensors)


def _find_file(given: str, source: Source) -> Path:
    path = Path(given).expanduser()
    if not path.is_file():
        remedy = "`pretrained` takes those of the model, `none` starts from random numbers"
        raise RunError(f"{source.encoder}: weights {path} do not exist; {remedy}")
    return path


def _drop(network: nn.Module, name: str, instead: nn.Module | None) -> None:
    home, _, last = name.rpartition(".")
    holder: Any = network.get_submodule(home)
    if getattr(holder, last, None) is not None:
        setattr(holder, last, instead)


@contextmanager
def refuse_what_fails(source: Source) -> Iterator[None]:
    """Makes whatever is raised of somebody's config or tensors an error of ours.

    Raises:
        RecipeError: Something was raised.
    """
    try:
        yield
    except (FusionKitError, MemoryError):
        raise
    except Exception as error:
        if is_full(error):
            raise
        message = f"{source.model} cannot be built ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        raise source.refuse(message, "see whether transformers itself loads it, and is new enough") from error


@contextmanager
def _without_reports() -> Iterator[None]:
    """Keeps transformers from printing bars and tables of the tensors that it loads: what matters, we say."""
    logging: Any = importlib.import_module("transformers.utils.logging")

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
