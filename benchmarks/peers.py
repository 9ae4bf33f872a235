"""Methods of the literature beside public implementations from PyPI: same weights, same inputs, same outputs?

Usage: python benchmarks/peers.py benchmarks/results/peers.json
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.models.fusions import LowRank, TensorFusion
from fusionkit.storage.environment import describe_environment
from fusionkit.storage.files import as_json, write_file

TOLERANCE = 1e-12
BATCH = 16
COMMAND = "python benchmarks/peers.py benchmarks/results/peers.json"

Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Peer:
    """A public implementation of a method.

    Args:
        method: Ours.
        case: What `peer_side.py` calls it.
        package: Its package on PyPI.
        version: The version that is installed.
        name: The class.
        differs: What differs from ours, and what was done about it.
    """

    method: str
    case: str
    package: str
    version: str
    name: str
    differs: Sequence[str]


PEERS = (
    Peer(
        "low_rank",
        "pykale_low_rank",
        "pykale",
        "0.2.1",
        "kale.embed.multimodal_fusion.LowRankTensorFusion",
        (
            "It weighs every product by a learned number, as the authors' program does and their eq. (7) does not; "
            "ours takes these numbers up into the factors of the first modality, which is how they were compared.",
            "The appended 1 stands first, ours last: the rows of the factors are moved.",
            "Its factors are kept in a plain list, so parameters() does not name them and an optimizer would not train "
            "them.",
            "It draws its factors as one tensor of three dimensions, ours every matrix by itself, so the spread of the "
            "first weights differs.",
        ),
    ),
    Peer(
        "low_rank",
        "mmsa_low_rank",
        "mmsa",
        "2.2.1",
        "MMSA.models.singleTask.LMF.LMF",
        (
            "It is a whole network of text, audio and video: compared is what it makes of its features before fusion.",
            "Weights of the products, the place of the appended 1 and the first weights differ as in pykale.",
            "Its output is the prediction itself, ours a fused vector that loss heads read.",
        ),
    ),
    Peer(
        "tensor",
        "mmsa_tensor",
        "mmsa",
        "2.2.1",
        "MMSA.models.singleTask.TFN.TFN",
        (
            "It is a whole network of text, audio and video: compared is the outer product of its features before "
            "fusion, without the three layers behind it.",
            "The appended 1 stands first, ours last: the numbers are the same in another order.",
        ),
    ),
)
ABSENT = {
    "gated": "none of the packages looked into holds a gated multi-modal unit",
    "ogm_ge": "none of the packages looked into holds it; the authors' program is not on PyPI",
}
LOOKED_INTO = (
    "pykale 0.2.1",
    "mmsa 2.2.1",
    "fusilli 2.0.0",
    "pytorch-widedeep 1.7.0",
    "torchmultimodal-nightly 2024.4.1",
)


def given_to(case: str) -> dict[str, NDArray[np.float64]]:
    """The inputs, and for pykale the weights, that both sides are given."""
    rng = np.random.default_rng(0)
    if case == "pykale_low_rank":
        widths, rank, out = (5, 7, 3), 4, 6
        features = {f"feature{place}": rng.normal(size=(BATCH, width)) for place, width in enumerate(widths)}
        factors = {f"factor{place}": rng.normal(size=(rank, width + 1, out)) for place, width in enumerate(widths)}
        return {**features, **factors, "weights": rng.normal(size=(1, rank)), "bias": rng.normal(size=(1, out))}
    return {
        "input0": rng.normal(size=(BATCH, 9, 5)),
        "input1": rng.normal(size=(BATCH, 1, 6)),
        "input2": rng.normal(size=(BATCH, 1, 7)),
    }


def ours(method: str, known: Arrays) -> NDArray[np.float64]:
    """What our fusion gives for the peer's features and weights, in the peer's order of numbers."""
    count = sum(name.startswith("feature") for name in known)
    features = {f"m{place}": torch.from_numpy(known[f"feature{place}"]) for place in range(count)}
    everyone = dict.fromkeys(features)
    widths = {name: values.shape[1] for name, values in features.items()}
    with torch.no_grad():
        if method == "tensor":
            fused = TensorFusion(widths)(features, everyone)
            return _one_first(fused, list(widths.values())).numpy()
        factors = [torch.from_numpy(known[f"factor{place}"]).roll(-1, dims=1) for place in range(count)]
        module = LowRank(widths, features=factors[0].shape[2], rank=factors[0].shape[0]).double()
        factors[0] = factors[0] * torch.from_numpy(known["weights"]).reshape(-1, 1, 1)
        module.load_state_dict(
            {f"factors.{place}": factor for place, factor in enumerate(factors)}
            | {"bias": torch.from_numpy(known["bias"]).flatten()}
        )
        return module(features, everyone).numpy()


def _one_first(fused: Tensor, widths: Sequence[int]) -> Tensor:
    product = fused.reshape(len(fused), *(width + 1 for width in widths))
    return product.roll([1] * len(widths), dims=list(range(1, len(widths) + 1))).flatten(1)


def compare(peer: Peer, folder: Path) -> dict[str, Any]:
    """Installs a peer into a folder of its own, lets both compute, and says how far apart they are."""
    packages = folder / f"{peer.package}-{peer.version}"
    if not packages.is_dir():
        wanted = f"{peer.package}=={peer.version}"
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), wanted]
        subprocess.run([sys.executable, *install], check=True, stdout=sys.stderr)
    given, said = folder / f"{peer.case}_given.npz", folder / f"{peer.case}_said.npz"
    inputs = given_to(peer.case)
    np.savez(given, **inputs)  # type: ignore[arg-type]
    side = Path(__file__).with_name("peer_side.py")
    program = [sys.executable, str(side), peer.case, str(given), str(said)]
    subprocess.run(program, check=True, env={"PYTHONPATH": str(packages), "PATH": ""})
    theirs = dict(np.load(said))
    fused = ours(peer.method, {**inputs, **theirs})
    difference = float(np.abs(fused - theirs["fused"]).max())
    return {
        "method": peer.method,
        "peer": peer.package,
        "version": peer.version,
        "class": peer.name,
        "numbers": fused.size,
        "largest": float(np.abs(theirs["fused"]).max()),
        "max_abs_difference": difference,
        "agrees": difference <= TOLERANCE * max(1.0, float(np.abs(theirs["fused"]).max())),
        "differs": list(peer.differs),
    }


def result_of(folder: Path) -> dict[str, Any]:
    """Everything that the result file says."""
    environment = describe_environment("cpu")
    return {
        "format": 1,
        "kind": "peers",
        "command": COMMAND,
        "device": "cpu",
        "platform": platform.platform(),
        "commit": environment["commit"],
        "uncommitted_changes": environment["uncommitted_changes"],
        "versions": {name: environment[name] for name in ("fusionkit", "torch", "python")},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "precision": "float64",
        "tolerance": TOLERANCE,
        "peers": [compare(peer, folder) for peer in PEERS],
        "absent": dict(ABSENT),
        "looked_into": list(LOOKED_INTO),
        "failures": [],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        write_file(Path(sys.argv[1]), as_json(result_of(Path(name))))
