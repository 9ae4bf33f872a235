"""N2 as it is usually written: padded batches, every frame of them through the encoder, and plain PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from networks import CLASSES, WIDTH, bare_encoders
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.models.build import FusionModel
from fusionkit.nn.jagged import Jagged

SCORING = 128
"""Width between the dense units of the fused head."""

Padded = Mapping[str, tuple[Tensor, Tensor]]
"""By modality ``(batch, time, *element)`` and the lengths."""


class PlainBranch(nn.Module):
    """A ResNet-18, an LSTM, a batch norm and a head; and the residual perceptron and the batch norm of the fusion."""

    def __init__(self, encoder: nn.Module, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.lstm = nn.LSTM(WIDTH, hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, CLASSES)
        self.dense = nn.Linear(hidden, hidden)
        self.dense_norm = nn.BatchNorm1d(hidden)
        self.fused_norm = nn.BatchNorm1d(hidden)

    def forward(self, padded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the branch's own scores, and what is fused."""
        batch, time = padded.shape[:2]
        encoded = self.encoder(padded.flatten(0, 1)).view(batch, time, -1)
        states = self.lstm(encoded)[0]
        feature = self.norm(states[torch.arange(batch, device=states.device), lengths - 1])
        bent = feature + self.dense_norm(torch.sigmoid(self.dense(feature)))
        return self.head(feature), self.fused_norm(bent)


class PlainNetwork(nn.Module):
    """The two branches side by side, and the paper's Scoring on both."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        encoders = bare_encoders()
        self.branches = nn.ModuleDict({name: PlainBranch(encoder, hidden) for name, encoder in encoders.items()})
        self.head = nn.Sequential(
            nn.Linear(len(encoders) * hidden, SCORING), nn.ReLU(), nn.BatchNorm1d(SCORING), nn.Linear(SCORING, CLASSES)
        )

    def forward(self, inputs: Padded) -> dict[str, Tensor]:
        """Returns scores by modality, and ``fused``."""
        found = {name: branch(*inputs[name]) for name, branch in self.branches.items()}
        fused = self.head(torch.cat([each for _, each in found.values()], dim=1))
        return {"fused": fused, **{name: scores for name, (scores, _) in found.items()}}

    def loss(self, inputs: Padded, classes: Tensor) -> Tensor:
        """Returns the sum of all loss terms."""
        return torch.stack([functional.cross_entropy(scores, classes) for scores in self(inputs).values()]).sum()

    def take_weights(self, model: FusionModel) -> None:
        """Takes the weights of fusionkit's N2."""
        for index, (name, plain) in enumerate(self.branches.items()):
            branch = model.branch(name)
            pairs = {
                plain.encoder: branch.encoders[0].network,
                plain.lstm: branch.aggregator.state.network,
                plain.norm: branch.norm,
                plain.head: branch.heads["emotion"].scores,
                plain.dense: model.fusion.perceptrons[index].dense,
                plain.dense_norm: model.fusion.perceptrons[index].norm,
                plain.fused_norm: model.fusion.fusion.norms[index],
            }
            for to, of in pairs.items():
                _copy(of, to)
        _copy(model.head("emotion").scores, self.head)


def pad(batch: Mapping[str, Jagged]) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns a batch as the plain network takes it."""
    return {name: (of.to_padded(), of.lengths) for name, of in batch.items()}


def _copy(of: nn.Module, to: nn.Module) -> None:
    missing, unexpected = to.load_state_dict(of.state_dict(), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"the plain network differs: {missing} are missing, {unexpected} have no place")
