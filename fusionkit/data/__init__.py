"""From files to batches of ragged samples."""
