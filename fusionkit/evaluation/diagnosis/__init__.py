"""Diagnosis: what encoders, fusion and modalities of a finished run are worth. Reads runs, writes nothing."""

from fusionkit.evaluation.diagnosis.diagnosis import diagnose
from fusionkit.evaluation.diagnosis.folds import check_recipes, merge
from fusionkit.evaluation.diagnosis.separate import Separate, open_separate
from fusionkit.storage.experiment_folder import find_runs
from fusionkit.storage.records.diagnosis import Diagnosis

__all__ = ["Diagnosis", "Separate", "check_recipes", "diagnose", "find_runs", "merge", "open_separate"]
