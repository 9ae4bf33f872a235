"""Diagnosis: what encoders, fusion and modalities of a finished run are worth. Reads runs, writes nothing."""

from fusionkit.diagnosis.diagnosing import Diagnosis, diagnose
from fusionkit.diagnosis.merging import check_recipes, merge
from fusionkit.diagnosis.separate import Separate, open_separate
from fusionkit.storage.find_runs import find_runs

__all__ = ["Diagnosis", "Separate", "check_recipes", "diagnose", "find_runs", "merge", "open_separate"]
