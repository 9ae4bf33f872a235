"""The network of N modalities and K targets: its parts, how they are wired, and what they cost."""
