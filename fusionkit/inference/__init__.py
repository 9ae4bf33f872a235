"""A trained network at work: predictions while signals run."""
