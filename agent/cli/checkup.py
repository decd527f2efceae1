"""`gaptutor doctor CONFIG`: does a configuration fit its files, its student and the machine? Nothing is started for it."""

import os
from collections.abc import Callable, Iterator

import torch

from agent.cli.doctor import Check
from agent.config.schema import RunConfig, TeacherConfig
from agent.run.error_budget import is_within
from agent.run.items import read_file, words_of
from agent.student import engine_of
from agent.student.engine import Request, prompt_for
from agent.student.size import Size, measure
from agent.student.vllm.beforehand import check_serving
from agent.student.vllm.room import Ruler
from eval.scorers import make_scorer
from retrieval.errors import ConfigError, GaptutorError
from retrieval.pool.glance import glance
from retrieval.reading.sources import record_files
from training.families.families import family_of, load_config, resolve_dtype

GIB = 2**30
#: Bytes that a weight of the adapter takes while it is tuned: float32 weight and gradient, and AdamW's two moments.
_TUNED = 16


def examine_config(config: RunConfig, gpu_gib: float | None = None) -> list[Check]:
    """One check a border: items, pool, student, engine, memory, teacher. Nothing is started, asked or paid.

    `gpu_gib`: memory of the GPU that the run is meant for, where it is not this machine's.
    """
    looks: list[Callable[[], Iterator[Check]]] = [
        lambda: _items(config),
        lambda: _pool(config),
        lambda: _student(config),
        lambda: _engine(config),
        lambda: _memory(config, gpu_gib),
        lambda: _teacher(config),
    ]
    return [check for look in looks for check in _guarded(look)]


def _guarded(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of a look; a mistake that it meets is the last of them."""
    try:
        yield from look()
    except GaptutorError as error:
        yield _mistake("configuration", error)


def _mistake(what: str, error: GaptutorError) -> Check:
    found, _, cure = str(error).partition("; ")
    return Check(what, False, False, found, cure)


def _items(config: RunConfig) -> Iterator[Check]:
    data = config.data
    for name, path in (("validation set", data.validation), ("holdout", data.holdout)):
        if path is None:
            continue
        read = read_file(config, path, data.limit)
        lost, total = len(read.set_aside), len(read.items) + len(read.set_aside)
        good = is_within(lost, total, config.error_budget)
        scorer = make_scorer(data.scorer, read.items, data.tolerance)
        found = "; ".join([*words_of(read), f"scored by `{scorer.name}`"])
        yield Check(name, good, False, found, "" if good else "mend those items or raise error_budget")


def _pool(config: RunConfig) -> Iterator[Check]:
    pool = config.pool
    files = record_files(pool.path)
    size = sum(path.stat().st_size for path in files) / 2**20
    said = "; ".join(glance(pool.path, pool.images, pool.images_anywhere))
    yield Check("pool", True, False, f"{len(files)} file{'s' * (len(files) > 1)}, {size:,.0f} MiB; {said}", "")


def _student(config: RunConfig) -> Iterator[Check]:
    student = config.student
    settings = load_config(student.model, student.trust_remote_code)
    family = family_of(settings)
    yield Check("student", True, False, f"{settings.model_type}, family {family.name}", "")
    ruler = Ruler(student)
    data = config.data
    items = read_file(config, data.validation, data.limit).items
    requests = [Request(i.id, prompt_for(student.rationale_prompt, i.prompt_text), i.images) for i in items[:1000]]
    longest = max(ruler.lengths(requests), default=0)
    good = longest <= ruler.holds
    yield Check(
        "longest prompt and answer",
        good,
        False,
        f"{longest} tokens of {ruler.holds} that the student holds",
        "" if good else "lower student.max_new_tokens, scale the images down, or take another student",
    )


def _engine(config: RunConfig) -> Iterator[Check]:
    vllm = config.student.vllm
    if engine_of(config.student) == "embedded":
        yield Check("engine", True, False, "embedded (transformers in this process)", "")
        return
    try:
        check_serving(config.student, config.tuning.rank)
    except ConfigError as error:
        yield _mistake("engine", error)
        return
    found = f"the vLLM server at {vllm.url} (not asked)" if vllm.url else f"vLLM of {vllm.python or 'this environment'}"
    yield Check("engine", True, False, found, "")


def _memory(config: RunConfig, gpu_gib: float | None) -> Iterator[Check]:
    size = measure(config)
    if gpu_gib is None and torch.cuda.is_available():
        gpu_gib = torch.cuda.get_device_properties(0).total_memory / GIB
    width = _width(config.student.dtype, gpu_gib is not None)
    weights = size.student * width / GIB
    tuned = (size.student * _width(config.tuning.dtype, gpu_gib is not None) + size.adapter * _TUNED) / GIB
    about = f"{size.student / 1e9:.2f} billion parameters, {width} bytes each: {weights:.1f} GiB"
    if gpu_gib is None:
        yield Check("memory", True, False, f"{about}; {tuned:.1f} GiB and activations while tuning", "")
        return
    if config.student.vllm.url is None:  # else they are answered elsewhere
        yield _answering(config, about, weights, gpu_gib)
    yield _tuning(config, size, tuned, gpu_gib)


def _width(dtype: str, on_gpu: bool) -> int:
    """Bytes of a weight. `auto` goes by the machine that the run is meant for, which may not be this one: two on any GPU."""
    return 2 if dtype == "auto" and on_gpu else resolve_dtype(dtype).itemsize


def _answering(config: RunConfig, about: str, weights: float, gpu_gib: float) -> Check:
    room, of = gpu_gib, ""
    cure = "take a smaller or a quantised student, or set student.dtype to bfloat16"
    if engine_of(config.student) == "vllm":
        room, of = gpu_gib * config.student.vllm.gpu_memory, " that vLLM takes; the rest holds its cache"
        cure = "take a smaller or a quantised student, or raise student.vllm.gpu_memory"
    good = weights < room
    return Check("GPU memory, answering", good, False, f"{about} of {room:.1f} GiB{of}", "" if good else cure)


def _tuning(config: RunConfig, size: Size, tuned: float, gpu_gib: float) -> Check:
    samples = config.tuning.micro_batch_size or config.tuning.batch_size
    served, cure = 0.0, "lower tuning.rank, or take a smaller student"
    if _stays_beside(config):
        served = gpu_gib * config.student.vllm.gpu_memory
        cure = "lower tuning.rank or student.vllm.gpu_memory, or leave student.vllm.sharing at restart"
    left = gpu_gib - tuned - served
    return Check(
        "GPU memory, tuning",
        left > 0,
        False,
        f"{tuned:.1f} GiB for the weights and an adapter (rank {config.tuning.rank}, {size.adapter / 1e6:.0f} million) with its "
        f"optimiser; {left:.1f} GiB are left for the activations of {samples} samples",
        "" if left > 0 else cure,
    )


def _stays_beside(config: RunConfig) -> bool:
    """Whether our server stays up on a GPU that tuning takes too."""
    vllm, first = config.student.vllm, os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    stays = engine_of(config.student) == "vllm" and vllm.url is None and vllm.sharing == "shared"
    served, tuned = (set((named or first).split(",")) for named in (vllm.gpus, config.tuning.gpus))
    return stays and bool(served & tuned)


def _teacher(config: RunConfig) -> Iterator[Check]:
    teacher = config.teacher
    if teacher.app is None:
        there = bool(os.environ.get(teacher.api_key_env, "").strip())
        found = f"{teacher.model} at {teacher.base_url}, key {'in' if there else 'not in'} {teacher.api_key_env}"
        own = teacher.base_url != TeacherConfig.model_fields["base_url"].default
        cure = f"export {teacher.api_key_env}=…" + (", unless that server takes none" if own else "")
        yield Check("teacher", there, own, found, "" if there else cure)
    price = teacher.price
    known = f"${price.inward:g} and ${price.outward:g} per million tokens" if price else "not known"
    yield Check(
        "teacher's price",
        price is not None,
        True,
        known,
        "" if price else "give teacher.price_in and teacher.price_out",
    )
