"""Protocols: how a dataset is divided into training and test samples, as often as the protocol says."""

from fusionkit.data.folds.drawn import Holdout, RandomKFold
from fusionkit.data.folds.given import Given
from fusionkit.data.folds.groups import ActorPairs, BalancedGroups, GroupKFold, LeaveOneGroupOut
from fusionkit.data.folds.nested import Nested
from fusionkit.data.folds.parts import WithParts

__all__ = [
    "ActorPairs",
    "BalancedGroups",
    "Given",
    "GroupKFold",
    "Holdout",
    "LeaveOneGroupOut",
    "Nested",
    "RandomKFold",
    "WithParts",
]
