"""What is right, and what chance can do: items, answers, scorers, statistics."""

from eval.answers import Answer, Evaluation, Figures, correctness, evaluate_answers, read_answer
from eval.scorers import Scorer, make_scorer
from eval.statistics import Comparison, Plateau, compare, least_gain, mean_interval, plateau, significant, wilson
from eval.task import Item, Items, load_items, split_holdout

__all__ = [
    "Answer",
    "Comparison",
    "Evaluation",
    "Figures",
    "Item",
    "Items",
    "Plateau",
    "Scorer",
    "compare",
    "correctness",
    "evaluate_answers",
    "least_gain",
    "load_items",
    "make_scorer",
    "mean_interval",
    "plateau",
    "read_answer",
    "significant",
    "split_holdout",
    "wilson",
]
