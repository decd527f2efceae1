"""The pool, its skills, and what is chosen from it. The lowest floor: it knows nothing of students, teachers or tuning.

What other floors may use is named here; heavy parts (sentence-transformers, Chroma) are only loaded when first used.
"""

import os

# Read when huggingface_hub is imported, by whatever part comes first.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# bm25s starts JAX where that is installed, which takes three quarters of a GPU's memory for itself; nothing here needs it there.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from retrieval.index.embedding import Embedder, VectorCache
from retrieval.index.ranking import Hit, Mode
from retrieval.index.skill_index import SkillIndex
from retrieval.pool.formats import PoolRow, read_pool, write_trl
from retrieval.pool.images import read_image
from retrieval.pool.overlap import overlap
from retrieval.pool.pool import Pool
from retrieval.pool.sample import Sample, Turn
from retrieval.reading.records import Record, SetAside, iter_records
from retrieval.selection.needs import Gap, Quota, Quotas, Selected, Selection, Shares, Sibling, gap_id
from retrieval.selection.random import select_random
from retrieval.selection.targeted import select_targeted

__all__ = [
    "Embedder",
    "Gap",
    "Hit",
    "Mode",
    "Pool",
    "PoolRow",
    "Quota",
    "Quotas",
    "Record",
    "Sample",
    "Selected",
    "Selection",
    "SetAside",
    "Shares",
    "Sibling",
    "SkillIndex",
    "Turn",
    "VectorCache",
    "gap_id",
    "iter_records",
    "overlap",
    "read_image",
    "read_pool",
    "select_random",
    "select_targeted",
    "write_trl",
]
