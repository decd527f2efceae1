"""What the student's server needs, looked at before anything is paid: no GPU is used and no server started."""

import importlib.util
import shutil
import subprocess

from agent.config.schema import StudentConfig, VllmConfig
from agent.student.vllm.server.named import NamedServer
from agent.student.vllm.server.needs import Needs, room_for
from agent.student.vllm.server.own import free_port
from agent.student.vllm.student import check_served
from retrieval.errors import ConfigError, StudentError

#: Exit code 0 if vLLM is there; without the seconds that importing it takes.
_LOOK = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
#: Seconds that this may take on a slow disk.
_LOOK_SECONDS = 60.0


def check_serving(config: StudentConfig, rank: int) -> None:
    """Raise ConfigError if a server could not serve the student, or an adapter of this rank: a family or a rank that vLLM does
    not take; for a server of our own also vLLM or its Python missing, or its port in use."""
    check_served(config)
    vllm = config.vllm
    if vllm.serve != "merged":  # merged weights may come of any rank
        room_for(rank)
    check_installed(vllm)
    if vllm.url is None:
        free_port(vllm.port)


def check_installed(vllm: VllmConfig) -> None:
    """Raise ConfigError if vLLM or its Python is missing, where a server of our own would be started."""
    check_python(vllm)
    if vllm.url is None and not _has_vllm(vllm):
        raise ConfigError(
            f"vLLM is not installed in {f'the environment of {vllm.python}' if vllm.python else 'this environment'}; "
            "pip install 'gaptutor[vllm]', name another at student.vllm.python, or set student.engine to embedded"
        )


async def check_named(config: StudentConfig) -> None:
    """Raise ConfigError if a server of the user's does not answer, or refuses."""
    if config.vllm.url is None:
        return
    server = NamedServer(config)
    try:
        await server.start(config.model, Needs())
    except StudentError as error:  # later this would be an outage
        raise ConfigError(str(error)) from error
    finally:
        await server.stop()


def check_python(vllm: VllmConfig) -> None:
    """Raise ConfigError if `student.vllm.python` is no program, where a server of our own would be started with it."""
    if vllm.url is None and vllm.python is not None and shutil.which(vllm.python) is None:
        raise ConfigError(
            f"student.vllm.python: there is no program {vllm.python}; name the Python of an environment with vLLM"
        )


def _has_vllm(vllm: VllmConfig) -> bool:
    if vllm.python is None:
        return importlib.util.find_spec("vllm") is not None
    try:
        looked = subprocess.run([vllm.python, "-c", _LOOK], capture_output=True, timeout=_LOOK_SECONDS)
    except OSError as error:
        raise ConfigError(
            f"student.vllm.python: {vllm.python} cannot be run ({error.strerror}); name a Python"
        ) from None
    except subprocess.TimeoutExpired:
        return True  # it will be seen when the server starts
    return looked.returncode == 0
