"""Recipes and other documents: YAML to checked records, and the registry of components."""
