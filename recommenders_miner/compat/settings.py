"""The keys of Microsoft Recommenders' YAML files that its models and ours do not share."""

FILES = ("wordEmb_file", "wordDict_file", "userDict_file", "vertDict_file", "subvertDict_file")
"""Hyperparameters that name files in Recommenders' form, read when a model is made and not needed once it is saved."""

WITHOUT_USE = {
    "data_format": "a model reads the features that it needs",
    "iterator_type": "a model reads the features that it needs",
    "support_quick_scoring": "evaluation always encodes each article once",
    "word_size": "the dictionary says it",
    "user_num": "the dictionary says it",
    "vert_num": "the dictionary says it",
    "subvert_num": "the dictionary says it",
    "gru_unit": "the GRU is as wide as a news vector",
    "show_step": "the progress bar shows every step",
    "save_epoch": "fit with run_dir keeps every epoch",
    "method": "scores are raw",
}
"""Keys that decide nothing here, and why."""
