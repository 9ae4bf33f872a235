"""Each modality's exact Shapley share of a score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from fusionkit.evaluation.diagnosis.subsets import Subset


def shapley_shares(modalities: Sequence[str], value: Mapping[Subset, float]) -> dict[str, float]:
    r"""Computes what each modality adds to a score, averaged over all orders in which modalities could be added.

    .. math::
        \phi_m = \sum_{S \subseteq M \setminus m} \frac{|S|! \, (N - |S| - 1)!}{N!}
            \bigl( v(S \cup m) - v(S) \bigr), \qquad \sum_m \phi_m = v(M) - v(\emptyset)

    :math:`v(S)` is the score of the fused branch where only the modalities S are present, :math:`v(\emptyset)` that
    of its answer to samples without any, which it makes of its placeholders alone.

    Args:
        modalities: The modalities M, in the order of fusion.
        value: The score of every subset of them.

    Source:
        Shapley 1953, A value for n-person games; no sampling, all :math:`2^N` subsets.

    Example:
        >>> value = {(): 0.25, ("a",): 0.5, ("b",): 0.75, ("a", "b"): 1.0}
        >>> shapley_shares(("a", "b"), value)
        {'a': 0.25, 'b': 0.5}
    """
    count, shares = len(modalities), {}
    for modality in modalities:
        others = [name for name in modalities if name != modality]
        terms = []
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for subset in combinations(others, size):
                joined = tuple(name for name in modalities if name == modality or name in subset)
                terms.append(weight * (value[joined] - value[subset]))
        shares[modality] = math.fsum(terms)
    return shares
