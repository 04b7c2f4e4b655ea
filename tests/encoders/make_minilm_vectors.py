"""Made minilm_vectors.npz, the vectors of Hugging Face's own BERT for the headlines below:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install "transformers==4.57.6" "tensorflow-cpu==2.15.1" "numpy<2" safetensors
    recommenders-miner fetch minilm --out /tmp/minilm
    /tmp/reference/bin/python tests/encoders/make_minilm_vectors.py /tmp/minilm tests/encoders/minilm_vectors.npz

It imports nothing of this package, and the tests import nothing but the headlines of it.
"""

import sys

HEADLINES = [
    "Storm brings heavy rain to the coast",
    "Stocks fall as oil climbs 3% on supply fears",
    "Café owners in Zürich protest against a new tax",
    "What's next for the champions? Their coach won't say",
    "U.S. senators debate $2.5-billion plan",
    "10 easy weeknight dinners (ready in 30 minutes)",
    "Supercalifragilistic musical returns to the stage",
    "東京 hosts the finals",
    "Is it   time to sell your house?",
    "NBA: late three-pointer seals overtime win",
    "x",
    "Scientists say a very old and very large galaxy, seen as it was long before our own was born, is unlike any other",
]


def main(model_folder, out):
    import numpy as np
    from safetensors.numpy import load_file
    from transformers import AutoConfig, AutoTokenizer, TFBertModel
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = TFBertModel(AutoConfig.from_pretrained(model_folder))
    load_pytorch_state_dict_in_tf2_model(model, load_file(f"{model_folder}/model.safetensors"))
    batch = tokenizer(HEADLINES, padding="max_length", truncation=True, max_length=20, return_tensors="tf")
    states = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    np.savez_compressed(out, pieces=batch["input_ids"].numpy(), cls=states[:, 0], mean=mean.astype("float32"))


if __name__ == "__main__":
    main(*sys.argv[1:])
