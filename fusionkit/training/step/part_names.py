"""Names of the parts of a step, by which it is timed, traced and reported."""

from __future__ import annotations

DATA, MOVE = "waiting for data", "moving to the device"
ENCODERS, AGGREGATOR, HEADS = "encoders", "aggregator", "uni-modal heads"
FUSION, LOSSES, BACKWARD, OPTIMIZER = "fusion and its heads", "losses and balancer", "backward", "optimizer"
