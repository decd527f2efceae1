"""Which options of `vllm serve` (`student.vllm.args`) may decide answers: all but those that are known not to."""

from collections.abc import Sequence

#: How the server is reached, what it logs, how it spreads over memory and GPUs and how many requests it takes at a time: as free
#: to change as `student.vllm.gpus`, `.gpu_memory` and `.concurrency` are, and no more exact.
_HARMLESS = {
    "--allow-credentials",
    "--allowed-headers",
    "--allowed-methods",
    "--allowed-origins",
    "--api-key",
    "--api-server-count",
    "--async-scheduling",
    "--block-size",
    "--cpu-offload-gb",
    "--data-parallel-size",
    "--disable-access-log-for-endpoints",
    "--disable-custom-all-reduce",
    "--disable-fastapi-docs",
    "--disable-frontend-multiprocessing",
    "--disable-log-requests",
    "--disable-log-stats",
    "--disable-uvicorn-access-log",
    "--distributed-executor-backend",
    "--download-dir",
    "--enable-chunked-prefill",
    "--enable-log-outputs",
    "--enable-log-requests",
    "--enable-prefix-caching",
    "--enable-server-load-tracking",
    "--enforce-eager",
    "--gpu-memory-utilization",
    "--host",
    "--kv-cache-memory-bytes",
    "--log-config-file",
    "--max-cpu-loras",
    "--max-log-len",
    "--max-num-batched-tokens",
    "--max-num-partial-prefills",
    "--max-num-seqs",
    "--max-parallel-loading-workers",
    "--mm-processor-cache-gb",
    "--mm-processor-cache-type",
    "--nnodes",
    "--node-rank",
    "--num-gpu-blocks-override",
    "--pipeline-parallel-size",
    "--port",
    "--root-path",
    "--safetensors-load-strategy",
    "--scheduling-policy",
    "--ssl-ca-certs",
    "--ssl-certfile",
    "--ssl-keyfile",
    "--swap-space",
    "--tensor-parallel-size",
    "--uds",
    "--use-tqdm-on-load",
    "--uvicorn-log-level",
}
_SHORT = {"-dp": "--data-parallel-size", "-pp": "--pipeline-parallel-size", "-tp": "--tensor-parallel-size"}


def deciding(args: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The options among `args` that may decide answers, with their values; of one given twice, both. What stands before any
    option is under ""."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in args:
        values: tuple[str, ...] = (word,)
        if word.startswith("-") and not _is_number(word):
            given, equals, value = word.partition("=")
            name = _SHORT.get(given, given.replace("_", "-"))
            values = (value,) if equals else ()
        found[name] = found.get(name, ()) + values
    return {name: values for name, values in found.items() if _positive(name) not in _HARMLESS}


def _is_number(word: str) -> bool:
    return word[1:2].isdigit() or word[1:2] == "."


def _positive(name: str) -> str:
    """An option's name without the `no-` that turns it off."""
    return "--" + name.removeprefix("--no-") if name.startswith("--no-") else name
