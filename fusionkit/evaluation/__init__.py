"""A finished run becomes its card, and a card is verified."""

from fusionkit.evaluation.card import evaluate, make_card
from fusionkit.evaluation.verification import Finding, Verification, verify
from fusionkit.inference.branches import TrainedBranches, trained_branches

__all__ = ["Finding", "TrainedBranches", "Verification", "evaluate", "make_card", "trained_branches", "verify"]
