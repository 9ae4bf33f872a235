"""Findings on the installation: what is there, what is missing for which command, and what to do about it.

Nothing here imports a package of others: this must work where any of them is missing, broken, or breaks the process.
"""

from fusionkit.execution.doctor.examination import Check, examine, is_well

__all__ = ["Check", "examine", "is_well"]
