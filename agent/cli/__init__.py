"""The command: `main` (run, demo, show, estimate, evaluate), `microworld`, `init`, and the checks of `doctor`."""

import os

# Before torch is imported by anything: see `training.child.threads`, which takes longer to import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
