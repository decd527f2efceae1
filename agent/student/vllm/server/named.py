"""A vLLM server of the user's."""

from agent.chat.key import read_key
from agent.config.schema import StudentConfig
from agent.student.vllm.server.client import Client, LostError, RefusedError
from agent.student.vllm.server.needs import Needs
from retrieval.errors import ConfigError, StudentError, TeacherSetupError


class NamedServer:
    """A server of the user's at `student.vllm.url`: never started or ended, its base model served under its own name."""

    def __init__(self, config: StudentConfig) -> None:
        vllm = config.vllm
        assert vllm.url is not None
        try:
            key = read_key(vllm.api_key_env or "")
        except TeacherSetupError as error:
            raise ConfigError(str(error)) from None
        if vllm.api_key_env and not key:
            raise ConfigError(f"{vllm.api_key_env} is not set; export it with the key of {vllm.url}")
        self._config = vllm
        self.model, self.root = "", ""
        self.client = Client(vllm.url.rstrip("/").removesuffix("/v1"), key, vllm.timeout, vllm.concurrency)

    async def start(self, model: str, needs: Needs) -> None:
        """Learn what it serves. Raises ConfigError; StudentError if it does not answer, LostError if it did before."""
        url = self.client.url
        self.client = Client(url, self.client.key, self._config.timeout, self._config.concurrency)
        try:
            models = await self.client.models()
            base = next((one for one in models if not one.get("parent")), None)
            if base is None:
                raise ConfigError(f"the server at {url} serves no model; start it with the student's")
            await self.client.probe(base["id"])
            self.model, self.root = base["id"], base.get("root") or ""
        except LostError as error:
            if self.model:
                raise  # it was there before: it is waited for
            raise StudentError(
                f"the vLLM server at {url} does not answer ({error}); start it, or check student.vllm.url"
            ) from None
        except RefusedError as error:
            cure = "check student.vllm.api_key_env" if error.status in (401, 403) else "check student.vllm.url"
            raise ConfigError(f"the server at {url} refuses (HTTP {error.status}: {error}); {cure}") from None

    async def stop(self) -> None:
        """Let go of its connections."""
        await self.client.close()
