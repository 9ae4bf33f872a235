"""Forms of aggregators without a state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fusionkit.inference.export.forms.padded import Padded
from fusionkit.inference.export.forms.registry import Engine, register_form
from fusionkit.models.aggregators import AttentionPooling, LastElement, MaxPooling, MeanPooling, Transformer

Summary = Callable[[Padded], Tensor]


class PoolingForm(nn.Module):
    """A summary of every sample's own elements.

    Args:
        aggregator: The aggregator, whose weights the summary may read.
        summarise: The summary.
    """

    def __init__(self, aggregator: nn.Module, summarise: Summary) -> None:
        super().__init__()
        self.aggregator, self.summarise = aggregator, summarise

    def forward(self, sequence: Padded) -> Tensor:
        """Summarises every sample."""
        return self.summarise(sequence)


def _take_mean(sequence: Padded) -> Tensor:
    return sequence.fill().values.sum(dim=1) / sequence.lengths[:, None]


def _take_maximum(sequence: Padded) -> Tensor:
    return sequence.fill(float("-inf")).values.amax(dim=1)


def _take_last(sequence: Padded) -> Tensor:
    features = sequence.values.shape[2]
    last = (sequence.lengths - 1)[:, None, None].expand(-1, 1, features)
    return sequence.values.gather(1, last)[:, 0]


@register_form(MeanPooling)
def _make_mean(aggregator: MeanPooling, engine: Engine) -> nn.Module:
    return PoolingForm(aggregator, _take_mean)


@register_form(MaxPooling)
def _make_maximum(aggregator: MaxPooling, engine: Engine) -> nn.Module:
    return PoolingForm(aggregator, _take_maximum)


@register_form(LastElement)
def _make_last(aggregator: LastElement, engine: Engine) -> nn.Module:
    return PoolingForm(aggregator, _take_last)


@register_form(AttentionPooling)
def _make_attention(aggregator: AttentionPooling, engine: Engine) -> nn.Module:
    def summarise(sequence: Padded) -> Tensor:
        filled = sequence.fill()
        scores = aggregator.query(aggregator.dense(filled.values).tanh())
        weights = torch.where(sequence.wide_mask, scores, float("-inf")).softmax(dim=1)
        return (weights * filled.values).sum(dim=1)

    return PoolingForm(aggregator, summarise)


@register_form(Transformer)
def _make_transformer(aggregator: Transformer, engine: Engine) -> nn.Module:
    def summarise(sequence: Padded) -> Tensor:
        filled = sequence.fill()
        return aggregator.summarise_padded(aggregator.dense(filled.values), filled.lengths)

    return PoolingForm(aggregator, summarise)
