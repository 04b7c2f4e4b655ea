"""Where data comes from: downloads, word vectors and the planted benchmark."""
