"""Loss heads: scores, losses, predictions and metrics of one target. Importing the package registers them."""

from fusionkit.models.loss_heads.class_head import ClassHead, SoftmaxHead
from fusionkit.models.loss_heads.classification import Classification
from fusionkit.models.loss_heads.concordance import Concordance
from fusionkit.models.loss_heads.mmcosine import MMCosine
from fusionkit.models.loss_heads.multilabel import Multilabel
from fusionkit.models.loss_heads.number_head import NumberHead
from fusionkit.models.loss_heads.ordinal import Ordinal
from fusionkit.models.loss_heads.regression import Regression

__all__ = [
    "ClassHead",
    "Classification",
    "Concordance",
    "MMCosine",
    "Multilabel",
    "NumberHead",
    "Ordinal",
    "Regression",
    "SoftmaxHead",
]
