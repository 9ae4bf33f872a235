"""The best accuracy that Gaussian classes allow, and what is drawn to hide it from a linear map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Where the normal density is integrated: beyond 12 it is below 1e-31. For a function that is smooth and vanishes at
#: both ends, the sum over equal steps converges faster than any power of the step; with this one it is exact to 1e-14.
_END, _STEP = 12.0, 0.01


def compute_equidistant_accuracy(classes: int, distance: float) -> float:
    r"""Computes the accuracy of Bayes' rule for equally frequent Gaussian classes, each as far from every other.

    .. math::
        P_K(d) = \int \varphi(z)\, \Phi\!\left(z + \frac{d}{\sqrt 2}\right)^{K-1} dz, \qquad P_2(d) = \Phi(d / 2)

    K classes have the covariance I and means of pairwise distance d, such as :math:`d / \sqrt 2` times the unit
    vectors. Then the most likely class is that with the greatest coordinate, and the true one is it if its own noise z
    lifts it above the K - 1 others. The integral is one-dimensional and is evaluated by quadrature, to 1e-12.

    Args:
        classes: How many classes, 2 or more.
        distance: Between the means of two classes, in standard deviations of the noise.

    Source:
        Proakis and Salehi, Digital Communications, 5th ed. 2008, section 4.4-1: the probability of a correct decision
        among K orthogonal signals in white noise. The number of the section is quoted from memory; the formula follows
        from the sentence above.

    Example:
        >>> round(compute_equidistant_accuracy(2, 2.0), 6), round(compute_equidistant_accuracy(4, 0.0), 6)
        (0.841345, 0.25)
    """
    z = torch.linspace(-_END, _END, round(2 * _END / _STEP) + 1, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    wins = torch.special.ndtr(z + distance / math.sqrt(2)) ** (classes - 1)
    return float((density * wins).sum()) * _STEP


class Warp:
    r"""A fixed, drawn, invertible map of vectors that mixes their numbers and bends their space.

    .. math::
        (a, b) = R_i x_{i-1}, \qquad x_i = \left(a, \frac{b + w \sin(W_i a)}{\sqrt{1 + w^2 / 2}}\right), \qquad
        i = 1, 2, 3

    and a last rotation R. The rotations are drawn evenly, the rows of W are directions of length 1.5. Each step can be
    undone, since a is kept and tells what was added to b; so nothing that could be known of a class is lost, however
    strong the warp w. At w = 0 the map is a rotation, through which every linear classifier sees.

    Args:
        features: Numbers of a vector, 2 or more.
        strength: The warp w.
        generator: What the map is drawn from.

    Source:
        Dinh, Krueger and Bengio 2014, arXiv:1410.8516, for the additive coupling; sines in place of a network.

    Example:
        >>> Warp(4, 1.0, torch.Generator().manual_seed(0))(torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, strength: float, generator: torch.Generator) -> None:
        self._kept, self._strength = features // 2, strength
        self._rotations = [_draw_rotation(features, generator) for _ in range(4)]
        self._waves = [_draw_directions(features - self._kept, self._kept, generator) for _ in range(3)]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Warps vectors, ``(..., features)``."""
        for rotation, waves in zip(self._rotations, self._waves, strict=False):
            kept, bent = (vectors @ rotation).tensor_split([self._kept], dim=-1)
            bent = (bent + self._strength * torch.sin(kept @ waves)) / math.sqrt(1 + self._strength**2 / 2)
            vectors = torch.cat([kept, bent], dim=-1)
        return vectors @ self._rotations[-1]

    def undo(self, vectors: Tensor) -> Tensor:
        """Returns what was warped to these vectors."""
        vectors = vectors @ self._rotations[-1].T
        for rotation, waves in zip(self._rotations[-2::-1], self._waves[::-1], strict=True):
            kept, bent = vectors.tensor_split([self._kept], dim=-1)
            bent = bent * math.sqrt(1 + self._strength**2 / 2) - self._strength * torch.sin(kept @ waves)
            vectors = torch.cat([kept, bent], dim=-1) @ rotation.T
        return vectors


def _draw_rotation(features: int, generator: torch.Generator) -> Tensor:
    drawn, upper = torch.linalg.qr(torch.randn(features, features, generator=generator, dtype=torch.float64))
    rotation: Tensor = drawn * upper.diagonal().sign()
    return rotation.float()


def _draw_directions(count: int, features: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(features, count, generator=generator, dtype=torch.float64)
    directions: Tensor = 1.5 * drawn / drawn.norm(dim=0)
    return directions.float()
