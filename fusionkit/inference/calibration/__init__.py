"""Probabilities, sets and intervals that hold what they say."""
