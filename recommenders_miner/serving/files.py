"""The files of an export, which `export` writes and `runtime` reads."""

FORMAT = 1
MANIFEST, VOCABULARIES, COUNTS = "manifest.json", "vocabularies", "counts.npz"
