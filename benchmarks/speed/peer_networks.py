"""Networks of public packages that fuse vectors by putting them side by side, and ours of the same widths."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import fusionkit
from fusionkit.models.build import FusionModel

CLASSES = 8
WIDTHS = {"first": 128, "second": 64}
TIME = 20
"""Elements of a sequence, where a peer reads one."""

Predict = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Peer:
    """A public network and ours that is nearest to it.

    Args:
        package: Its package on PyPI.
        version: The version that is installed.
        name: What is timed of it.
        make: Makes its network, and says how inputs become scores.
        ours: Our modalities and the hidden width of the fused head.
        sequences: The inputs that are sequences.
        stands_in: Modules that it imports and that such a network does not use; empty ones stand in for them.
        differs: What differs from ours, and what was done about it.
    """

    package: str
    version: str
    name: str
    make: Callable[[], tuple[nn.Module, Predict]]
    ours: tuple[Mapping[str, Any], int | None]
    sequences: frozenset[str]
    stands_in: tuple[str, ...]
    differs: Sequence[str]

    def build_ours(self) -> FusionModel:
        """Builds N0 of fusionkit with the same widths."""
        modalities, hidden = self.ours
        return fusionkit.build(
            {
                "modalities": dict(modalities),
                "fusion": "concat",
                "unimodal_heads": False,
                "fused_hidden": hidden,
                "targets": {"label": {"type": "classification", "classes": [f"class {i}" for i in range(CLASSES)]}},
            }
        )

    def inputs(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws noise for both."""
        widths = {name: of["shape"][0] for name, of in self.ours[0].items()}
        return {
            name: torch.randn(*((batch, TIME) if name in self.sequences else (batch,)), width, generator=generator)
            for name, width in widths.items()
        }


def vectors(*hidden: int, out: int, norm: str = "none") -> dict[str, Any]:
    """Returns our two modalities with a perceptron each."""
    encoder = {"type": "mlp", "hidden": list(hidden), "out": out, "norm": norm}
    return {name: {"shape": [width], "encoder": encoder, "aggregator": "mean"} for name, width in WIDTHS.items()}


def fusilli() -> tuple[nn.Module, Predict]:
    """Makes `ConcatTabularFeatureMaps`, with one fused layer in place of two, as its users may set."""
    module = importlib.import_module("fusilli.fusionmodels.tabularfusion.concat_feature_maps")
    widths = {"mod1_dim": WIDTHS["first"], "mod2_dim": WIDTHS["second"], "mod3_dim": None, "img_dim": None}
    network = module.ConcatTabularFeatureMaps("multiclass", widths, CLASSES)
    network.fused_layers = nn.Sequential(nn.Linear(512, 256), nn.ReLU())
    network.calc_fused_layers()
    return network, lambda given: network(given["first"], given["second"])


def widedeep() -> tuple[nn.Module, Predict]:
    """Makes `WideDeep` of two `TabMlp` under a head of one hidden layer, with batch norms as ours and no dropout."""
    models = importlib.import_module("pytorch_widedeep.models")

    def tower(width: int) -> nn.Module:
        columns = [f"column{place}" for place in range(width)]
        numbered = {name: place for place, name in enumerate(columns)}
        return models.TabMlp(
            numbered,
            continuous_cols=columns,
            mlp_hidden_dims=[256, 256],
            mlp_dropout=0.0,
            mlp_batchnorm=True,
            mlp_batchnorm_last=True,
        )

    network = models.WideDeep(
        deeptabular=[tower(width) for width in WIDTHS.values()],
        head_hidden_dims=[256],
        head_dropout=0.0,
        head_batchnorm=True,
        head_batchnorm_last=True,
        pred_dim=CLASSES,
    )
    return network, lambda given: network({"deeptabular": [given[name] for name in WIDTHS]})


def pykale() -> tuple[nn.Module, Predict]:
    """Makes `Concat` between `MLPDecoder`s, which are perceptrons, as encoders and as head."""
    fusion = importlib.import_module("kale.embed.multimodal_fusion").Concat()
    perceptron = importlib.import_module("kale.predict.decode").MLPDecoder
    encoders = nn.ModuleDict({name: perceptron(width, 256, 256, 256, 0.0) for name, width in WIDTHS.items()})
    head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, CLASSES))
    return nn.ModuleList([encoders, head]), lambda given: head(fusion([encoders[name](given[name]) for name in WIDTHS]))


def mmsa() -> tuple[nn.Module, Predict]:
    """Makes `LF_DNN`: its text is a sequence."""
    options = SimpleNamespace(
        feature_dims=(64, WIDTHS["first"], WIDTHS["second"]),
        hidden_dims=(128, 256, 256),
        text_out=128,
        post_fusion_dim=256,
        dropouts=(0.0, 0.0, 0.0, 0.0),
        num_classes=CLASSES,
        train_mode="classification",
    )
    network = importlib.import_module("MMSA.models.singleTask.LF_DNN").LF_DNN(options)
    return network, lambda given: network(given["text"], given["first"], given["second"])["M"]


class Plain(nn.Module):
    """Our network of `pykale` as one writes it by hand for vectors that are never missing: every layer of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: self._perceptron(width) for name, width in WIDTHS.items()})
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(256) for name in WIDTHS})
        self.fused = nn.BatchNorm1d(512)  # ours normalises either half by itself, which is the same
        self.head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.BatchNorm1d(256), nn.Linear(256, CLASSES))

    @staticmethod
    def _perceptron(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256))

    def forward(self, given: Mapping[str, Tensor]) -> Tensor:
        """Returns the scores."""
        features = [self.norms[name](self.encoders[name](given[name])) for name in WIDTHS]
        scores: Tensor = self.head(self.fused(torch.cat(features, dim=1)))
        return scores


def build_plainly() -> tuple[nn.Module, Predict]:
    """Makes the network written by hand."""
    network = Plain()
    return network, network


NORM = "Ours normalises the features of every branch and of the fused head over the batch, this one does not."
PEERS = (
    Peer(
        "fusilli",
        "2.0.0",
        "ConcatTabularFeatureMaps",
        fusilli,
        (vectors(32, 64, 128, 256, out=256), 256),
        frozenset(),
        ("lightning",),
        (NORM, "Its second fused layer is taken out, since ours has one."),
    ),
    Peer(
        "pytorch-widedeep",
        "1.7.0",
        "WideDeep of two TabMlp",
        widedeep,
        (vectors(256, out=256, norm="batch"), 256),
        frozenset(),
        ("gensim", "spacy", "transformers", "fastparquet", "pandas", "cv2", "imutils", "dask"),
        ("Batch norms are switched on, to be as many as ours.",),
    ),
    Peer(
        "pykale",
        "0.2.1",
        "Concat of MLPDecoders",
        pykale,
        (vectors(256, 256, out=256), 256),
        frozenset(),
        ("torch_geometric", "torch_scatter", "torch_sparse", "pandas"),
        (NORM, "Its fusion is MultiBench's; it has no encoder of vectors, so its decoder serves as one."),
    ),
    Peer(
        "mmsa",
        "2.2.1",
        "LF_DNN",
        mmsa,
        (
            {"text": {"shape": [64], "aggregator": {"type": "lstm", "hidden": 128}}, **vectors(256, 256, out=256)},
            256,
        ),
        frozenset({"text"}),
        ("easydict", "pynvml", "pandas", "transformers"),
        (
            "Ours normalises the features of branches and of the fused head, this one the inputs of the two vectors.",
            "It has a dense layer behind its LSTM, ours none.",
            "It has two hidden layers behind the fusion, ours one.",
        ),
    ),
)

BY_HAND = Peer(
    "torch",
    torch.__version__,
    "the network beside pykale's written by hand, with our norms",
    build_plainly,
    (vectors(256, 256, out=256), 256),
    frozenset(),
    (),
    ("It cannot do without a modality, and nothing in it has a name.",),
)
"""No peer: what fusionkit's way around the very same layers costs."""


def install(peer: Peer, folder: Path) -> Path:
    """Installs a peer without what it asks for into a folder of its own.

    Raises:
        subprocess.CalledProcessError: It cannot be fetched.
    """
    place = folder / f"{peer.package}-{peer.version}"
    wanted = f"{peer.package}=={peer.version}"
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), wanted]
    subprocess.run([sys.executable, *command], check=True, stdout=sys.stderr)
    return place


class StandIns:
    """Finds empty modules in place of those that are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self.made: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Finds a module of one of the names, or below it."""
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self._names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Creates an empty one, in which every name is an empty class."""
        module = ModuleType(spec.name)
        module.__path__ = []
        module.__dict__["options"] = SimpleNamespace(mode=SimpleNamespace())  # pandas has some, and they are set
        module.__dict__["__getattr__"] = _empty_class
        self.made.append(spec.name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs nothing."""


def _empty_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (nn.Module,), {})


@contextmanager
def importable(peer: Peer, place: Path) -> Iterator[None]:
    """Lets a peer be imported within it; what this process has installed is found before what the peer brings."""
    finder = StandIns(peer.stands_in)
    sys.path.append(str(place))
    sys.meta_path.append(finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.path.remove(str(place))
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in finder.made:
            sys.modules.pop(name, None)
