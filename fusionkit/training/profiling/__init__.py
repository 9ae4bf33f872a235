"""The time of a training: of its steps, of its stages, and what to change."""
