"""The four small models that the course trains, and the questions that they answer."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "tasks": ["TASKS", "make_questions"],
        "batches": ["encode", "pocket_tokens"],
        "questions": ["accuracy_by_task", "answer_questions", "question_rows"],
        "train": ["RECIPES", "fit"],
        "tokenizer": ["build_tokenizer"],
    },
)
