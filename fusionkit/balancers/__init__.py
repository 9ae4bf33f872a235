"""Balancers: named loss terms to one total. Importing the package registers them."""

from fusionkit.balancers.multi_term import MultiTerm

__all__ = ["MultiTerm"]
