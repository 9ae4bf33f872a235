"""Films and sounds to what training reads: prepared once, loaded as often as wanted."""

from fusionkit.data.films.forecast import Forecast
from fusionkit.data.films.preparation import PreparationCost, estimate_preparation, prepare
from fusionkit.data.films.prepared import PreparedDataset
from fusionkit.data.films.report import Preparation

__all__ = ["Forecast", "Preparation", "PreparationCost", "PreparedDataset", "estimate_preparation", "prepare"]
