"""Contract tests for components, ours and yours.

Each builds the component from example options, checks the promises of its kind and raises a `ContractError` with a
sentence that says which one broke. fusionkit's own tests run them on every registered component.
"""

from fusionkit.testing.balancers import check_balancer
from fusionkit.testing.components import check_aggregator, check_encoder, check_fusion
from fusionkit.testing.data import check_dataset, check_detector, check_folds, check_transform
from fusionkit.testing.loss_heads import check_loss_head
from fusionkit.testing.promises import ContractError

__all__ = [
    "ContractError",
    "check_aggregator",
    "check_balancer",
    "check_dataset",
    "check_detector",
    "check_encoder",
    "check_folds",
    "check_fusion",
    "check_loss_head",
    "check_transform",
]
