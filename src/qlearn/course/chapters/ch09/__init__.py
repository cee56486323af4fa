"""Chapter 9: training adapters, and the orders that they learn."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "training": ["train", "keep_trainable", "let_go_of_file", "load_nf4"],
        "orders": [
            "draw_new_words",
            "draw_orders",
            "encode",
            "exact_match",
            "exact_match_and_loss",
        ],
    },
)
