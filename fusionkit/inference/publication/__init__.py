"""A trained network for others: a folder without anything of its author's machine, and the way to a hub and back."""
