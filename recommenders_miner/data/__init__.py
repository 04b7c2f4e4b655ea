"""From MIND's files to arrays to batches."""
