"""The words of experiment files: variants, tuning, published numbers and compared targets."""
