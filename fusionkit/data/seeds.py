"""Generators of random numbers that depend on a purpose alone, and on nothing that was drawn before."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*purpose: object) -> int:
    """Derives a seed from what is drawn for: two purposes share no numbers, and one always has the same.

    Example:
        >>> derive_seed(0, "clip") == derive_seed(0, "clip"), derive_seed(0, "clip") == derive_seed(1, "clip")
        (True, False)
    """
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def make_generator(*purpose: object) -> torch.Generator:
    """Makes a generator for a purpose, such as a seed, an epoch, a sample and a modality."""
    return torch.Generator().manual_seed(derive_seed(*purpose))
