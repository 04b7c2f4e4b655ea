"""Made plm_vectors.json, the word pieces and vectors of transformers for the checkpoints of tests/tiny_checkpoints.py:

uv venv -p 3.11 /tmp/reference
uv pip install -p /tmp/reference transformers==5.24.0 torch==2.15.0 safetensors sentencepiece protobuf
PYTHONPATH=. /tmp/reference/bin/python tests/encoders/make_plm_vectors.py tests/encoders/plm_vectors.json
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.tiny_checkpoints import CASES, SIZE, TEXTS, write_case


def main(out):
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            write_case(Path(folder), name)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
            rows = tokenizer(TEXTS, truncation=True, max_length=SIZE)["input_ids"]
            with torch.no_grad():
                states = [model(input_ids=torch.tensor([row])).last_hidden_state[0] for row in rows[:2]]
        means = [[round(float(value), 6) for value in state.mean(0)] for state in states]
        found[name] = {"pieces": rows, "means": means}
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()]
    Path(out).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
