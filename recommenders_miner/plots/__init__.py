"""The plots that the package draws, and the look that they share."""
