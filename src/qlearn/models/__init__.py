"""A model and its text: fetched, loaded, its blocks found and walked."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "load": ["load_model", "load_tokenizer", "locate", "quiet", "MODEL_FILES"],
        "packaged": ["DEFAULT", "PACKAGED", "POCKET", "converted_folder", "packaged_gguf"],
        "local_files": ["stored_parameters"],
        "text": ["load_text", "load_tokens", "load_reviews"],
        "blocks": ["block_linears", "find_blocks", "set_module"],
        "walk": ["Walk"],
        "predictor": ["remember"],
        "long_runs": ["free_memory", "progress_bar"],
    },
)
