"""Microsoft Recommenders' ways: its names, its dense batches, its dictionaries."""
