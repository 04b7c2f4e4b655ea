"""News recall: the news of a large pool that a model scores highest, found without scoring them all."""
