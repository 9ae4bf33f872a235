"""The network of N modalities and K targets."""
