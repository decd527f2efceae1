"""What two texts have in common once spelling is put aside: plain text, VQA's normal form."""

import re
import unicodedata

from eval.markup import unwrap
from eval.number_words import SMALL

_ENDS = " \t\n.,;:!?\"'`*_()[]{}<>«»“”‘’…。、،؟।"
#: Words that may stand before a choice's text without changing it.
ARTICLES = {"a", "an", "the"}


def plain(text: str) -> str:
    """Case, spaces, markup and punctuation at the ends put aside; signs that mean something (-, %, $, +, °) stay."""
    folded = " ".join(unicodedata.normalize("NFKC", unwrap(text)).casefold().split())
    return folded.strip(_ENDS) or folded


def vqa_form(text: str) -> str:
    """Normal form in the spirit of the VQA evaluation (Antol et al. 2015): articles and punctuation away, number
    words up to ten as digits, contractions alike with or without their apostrophe; decimal points and minus signs
    stay."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)|['’`]", "", plain(text))
    words = re.findall(r"(?:(?<!\w)-(?=\d))?\w+(?:\.\d+)*%?", text)
    kept = [str(SMALL[word]) if SMALL.get(word, 99) <= 10 else word for word in words if word not in ARTICLES]
    return " ".join(kept) or text.strip()
