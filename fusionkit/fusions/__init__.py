"""Fusions: one vector per modality to one vector. Importing the package registers them."""

from fusionkit.fusions.concat import Concat
from fusionkit.fusions.mrpn import Mrpn

__all__ = ["Concat", "Mrpn"]
