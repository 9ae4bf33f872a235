"""Samples unlike those of the training, told by the distance of their features."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import RunError
from fusionkit.storage.calibration_file import locate_novelty
from fusionkit.storage.run_folder import RunFolder
from fusionkit.storage.tensor_files import read_tensors, write_tensors

_LEAST_SPREAD = 1e-6
"""Of the mean variance, so much is every direction given, where features do not vary at all."""


@dataclass(frozen=True)
class Familiar:
    r"""The features of one modality in training, and how far samples of the calibration lie from them.

    .. math::
        d(x) = \lVert L^{-1} (f(x) - \mu) \rVert, \qquad L L^\top = (1 - \lambda) \Sigma + \lambda \sigma^2 I

    f are the normalised features of the modality, :math:`\mu` and :math:`\Sigma` their mean and covariance over the
    training samples, shrunk by Ledoit and Wolf's rule. A sample that lies farther than every sample of the calibration
    is unlike them: of a new group like those, at most one sample in K + 1 does by chance, of K groups.

    Args:
        mean: The mean.
        root: The lower triangle L.
        farthest: The largest distance of a sample of the calibration.

    Source:
        Lee et al. 2018, arXiv:1807.03888 (Mahalanobis distances of features; here of each modality, without classes);
        Ledoit and Wolf 2004, https://doi.org/10.1016/S0047-259X(03)00096-4.
    """

    mean: Float[Tensor, " features"]
    root: Float[Tensor, "features features"]
    farthest: float

    def measure(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, " samples"]:
        """Measures the distance of features; they are rounded as those of the training were kept.

        Raises:
            RunError: They are of another width.
        """
        if features.shape[1] != len(self.mean):
            raise RunError(f"features of {features.shape[1]} numbers, and what is familiar has {len(self.mean)}")
        rounded = features.detach().cpu().half().double()
        offsets = (rounded - self.mean.double()).T
        distances: Tensor = torch.linalg.solve_triangular(self.root.double(), offsets, upper=False).norm(dim=0)
        return distances


def fit_familiar(
    training: Float[Tensor, "samples features"], aside: Float[Tensor, "others features"]
) -> Familiar | None:
    """Learns what features of a modality are like; None where there are fewer than two of the training, or none else.

    Args:
        training: Features of training samples.
        aside: Features of samples of the calibration.
    """
    if len(training) < 2 or not len(aside):
        return None
    from sklearn.covariance import ledoit_wolf  # using a calibration does not need it

    known = training.double()
    spread, _ = ledoit_wolf(known.numpy())
    covariance = torch.from_numpy(spread)
    covariance += _LEAST_SPREAD * (covariance.trace() / len(covariance) + 1e-12) * torch.eye(len(covariance))
    familiar = Familiar(known.mean(dim=0).float(), torch.linalg.cholesky(covariance).float(), 0.0)
    return Familiar(familiar.mean, familiar.root, float(familiar.measure(aside).max()))


def find_unfamiliar(
    familiar: Mapping[str, Familiar], features: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> list[tuple[str, ...]]:
    """Finds for every sample the modalities in which it lies farther than every sample of the calibration.

    Args:
        familiar: By modality.
        features: By modality, normalised features.
        present: By modality, which samples have it.
    """
    samples = len(next(iter(present.values())))
    found: list[tuple[str, ...]] = [()] * samples
    for name, of in familiar.items():
        far = (of.measure(features[name]) > of.farthest) & present[name]
        for row in far.nonzero().flatten().tolist():
            found[row] = (*found[row], name)
    return found


def write_novelty(run: RunFolder, familiar: Mapping[str, Familiar]) -> None:
    """Writes into the folder of a run what it is familiar with: ``mean``, ``root`` and ``farthest`` of each modality.

    Raises:
        RunError: It cannot be written.
    """
    kept: dict[str, Tensor] = {}
    for name, of in familiar.items():
        kept |= {f"mean/{name}": of.mean, f"root/{name}": of.root}
        kept[f"farthest/{name}"] = torch.tensor(of.farthest, dtype=torch.float64)
    write_tensors(locate_novelty(run), kept, {"weights_sha256": run.sha256_of_weights()})


def read_novelty(run: RunFolder) -> dict[str, Familiar]:
    """Reads what a run is familiar with; nothing where it did not learn that.

    Raises:
        RunError: The file is damaged, or of other weights.
    """
    file = locate_novelty(run)
    if not os.path.exists(file):
        return {}
    kept, about = read_tensors(file)
    if about.get("weights_sha256") != run.sha256_of_weights():
        raise RunError(f"{file}: is of other weights than those beside it; remove it, or calibrate the run again")
    found = {}
    for name in (name.removeprefix("mean/") for name in kept if name.startswith("mean/")):
        mean, root, farthest = (kept.get(f"{part}/{name}") for part in ("mean", "root", "farthest"))
        if mean is None or root is None or farthest is None or farthest.ndim or root.shape != (*mean.shape, len(mean)):
            raise RunError(f"{file}: is damaged; the tensors of {name} do not fit each other")
        if not bool((root.diagonal() > 0).all()):
            raise RunError(f"{file}: is damaged; root/{name} is no triangle of a covariance")
        found[name] = Familiar(mean, root, float(farthest))
    return found
