"""A finished run learns how sure it may be, on groups that its training did not see."""

from fusionkit.evaluation.calibration.calibration import calibrate

__all__ = ["calibrate"]
