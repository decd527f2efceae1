"""The command: `main` (run, demo, show, estimate, evaluate), `microworld`, `init`, and the checks of `doctor`."""
