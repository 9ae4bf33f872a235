"""Recipes and other documents: from YAML to checked records, and the registry of components that they name."""
