"""`python launch.py PARENT COMMAND…`: become COMMAND, told to end when the process PARENT dies (Linux)."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])
