"""Tests never ask a model hub: a name that is no folder is answered at once, as on a machine without network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
