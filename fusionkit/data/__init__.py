"""From files to batches: reading, folds and loading."""
