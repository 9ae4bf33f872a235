"""From samples to batches: loading, collating, prefetching, and moving to the device."""
