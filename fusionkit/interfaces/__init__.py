"""The contracts: one class per kind of component, and the records between them.

Axes: ``batch`` samples, ``time`` elements of one sample, ``total`` elements of all samples, ``features`` of a vector,
``classes`` or ``outputs`` of a target. A modality is always a `Jagged`; a target is a tensor in which a missing value
is negative (integers) or NaN (floats).

Constructor parameters before ``*`` are wired by the model (`wired`), those after it are what a recipe may set.
"""

from fusionkit.interfaces.columns import ModalityColumns, TableColumns
from fusionkit.interfaces.data import (
    Batch,
    Box,
    Clip,
    Dataset,
    DeviceTransform,
    FaceDetector,
    Folds,
    ModalityInfo,
    RawTarget,
    Row,
    Split,
    Transform,
)
from fusionkit.interfaces.elements import ElementEncoder
from fusionkit.interfaces.fitted import Fitted, Passes
from fusionkit.interfaces.loss_heads import LOSS, LossHead, Metric, TargetKind, share
from fusionkit.interfaces.network import Aggregator, Encoder, FeatureHook, Fusion, ModelOutput, count_at_once
from fusionkit.interfaces.training import (
    Balancer,
    EpochPlan,
    GradientScale,
    OptimizerRecipe,
    Plan,
    Repeat,
    Review,
    Schedule,
    Stage,
    Step,
    Strategy,
)

__all__ = [
    "LOSS",
    "Aggregator",
    "Balancer",
    "Batch",
    "Box",
    "Clip",
    "Dataset",
    "DeviceTransform",
    "ElementEncoder",
    "Encoder",
    "EpochPlan",
    "FaceDetector",
    "FeatureHook",
    "Fitted",
    "Folds",
    "Fusion",
    "GradientScale",
    "LossHead",
    "Metric",
    "ModalityColumns",
    "ModalityInfo",
    "ModelOutput",
    "OptimizerRecipe",
    "Passes",
    "Plan",
    "RawTarget",
    "Repeat",
    "Review",
    "Row",
    "Schedule",
    "Split",
    "Stage",
    "Step",
    "Strategy",
    "TableColumns",
    "TargetKind",
    "Transform",
    "count_at_once",
    "share",
]
