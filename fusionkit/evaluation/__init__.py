"""A finished run becomes its card, and a card is verified."""

from fusionkit.evaluation.card import evaluate, make_card
from fusionkit.evaluation.new_data import evaluate_on
from fusionkit.evaluation.verification import Finding, Verification, verify
from fusionkit.inference.branches import TrainedBranches, trained_branches

__all__ = [
    "Finding",
    "TrainedBranches",
    "Verification",
    "evaluate",
    "evaluate_on",
    "make_card",
    "trained_branches",
    "verify",
]
