"""Items that are too large for the student, batches that memory does not hold, photos, and adapters that must not be served."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from agent.config.schema import StudentConfig
from agent.student.adapters import check_adapter, is_sound, may_hang
from agent.student.asking import Asker
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Reply, Request
from agent.student.vllm.room import Ruler
from retrieval.errors import ConfigError
from retrieval.pool.images import read_image, scaled_down
from training.families.families import LLAVA, load_model, load_processor, target_pattern


def config(student: Path, **changed: Any) -> StudentConfig:
    return StudentConfig(model=str(student), **{"dtype": "float32", "batch_size": 6, "max_new_tokens": 8, **changed})


async def replies(engine: EmbeddedStudent, requests: list[Request]) -> dict[str, Reply]:
    return {reply.id: reply async for reply in engine.answer(requests)}


async def test_an_oversized_item_is_set_aside_and_the_others_are_answered_as_ever(
    student: Path, requests: list[Request]
) -> None:
    engine = EmbeddedStudent(config(student))
    alone = await replies(engine, requests)
    huge = Request("huge", "What colour is it? " * 50_000)
    found = await replies(engine, [huge, *requests])
    assert re.match(r"\d+ tokens with an answer of 8, and the student holds \d+", found.pop("huge").error or "")
    assert found == alone
    ((score,), *_) = await engine.score([huge, requests[0]], [["red"], ["red"]])
    assert score != score, "NaN"
    await engine.close()


@pytest.mark.parametrize("room", [1, 2, 5])
async def test_a_batch_that_memory_does_not_hold_is_asked_in_halves(
    student: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    engine = EmbeddedStudent(config(student))
    continuations = [["red", "blue"]] * len(requests)
    said, scores = await replies(engine, requests), await engine.score(requests, continuations)
    tensors, asked = Asker._tensors, []

    def crowded(self: Asker, model: Any, some: Any, *rest: Any) -> Any:
        asked.append(len(some))
        if len(some) > room or some[0].request.id == "r07":
            raise torch.OutOfMemoryError("out of memory, tried to allocate 9 GiB\nmore words")
        return tensors(self, model, some, *rest)

    monkeypatch.setattr(Asker, "_tensors", crowded)
    found = await replies(engine, requests)
    assert found.pop("r07").error == "the student has no memory for it (out of memory, tried to allocate 9 GiB)"
    del said["r07"]
    assert found == said
    assert max(asked) == 6
    await engine.close()
    assert len(scores) == len(requests)


async def test_a_photo_is_seen_at_the_size_that_is_set(student: Path, tmp_path: Path) -> None:
    photo = Image.effect_noise((600, 400), 90).convert("RGB")
    photo.save(tmp_path / "photo.png")
    scaled_down(photo, 6000).save(tmp_path / "small.png")
    assert scaled_down(photo, 6000).size == (94, 63)
    assert scaled_down(photo, 600 * 400) is photo
    limited = EmbeddedStudent(config(student, image_pixels=6000))
    free = EmbeddedStudent(config(student))
    request, other = (Request("a", "What colour is it?", (tmp_path / f"{name}.png",)) for name in ("photo", "small"))
    assert await limited.score([request], [["red"]]) == await free.score([other], [["red"]])
    assert await limited.score([request], [["red"]]) != await free.score([request], [["red"]])
    ruler = Ruler(config(student, image_pixels=6000))
    (tmp_path / "sent.png").write_bytes(ruler.picture(tmp_path / "photo.png"))
    assert read_image(tmp_path / "sent.png") == read_image(tmp_path / "small.png"), "and so it is sent to a server"
    await limited.close()
    await free.close()


@pytest.mark.parametrize("how", ["NaN", "zeros", "cut", "no settings", "a pattern that hangs"])
async def test_an_adapter_that_must_not_be_served_is_refused_in_one_sentence(
    student: Path, adapters: list[Path], tmp_path: Path, how: str
) -> None:
    for file in adapters[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert is_sound(tmp_path)
    weights, settings = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    match how:
        case "NaN":
            tensors = load_file(weights)
            next(iter(tensors.values())).view(-1)[3] = float("nan")
            save_file(tensors, weights)
        case "zeros":
            save_file({name: value * ("lora_B" not in name) for name, value in load_file(weights).items()}, weights)
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "no settings":
            settings.unlink()
        case _:
            settings.write_text(json.dumps({**json.loads(settings.read_text()), "target_modules": "(a+)+$"}))
    assert not is_sound(tmp_path)
    engine = EmbeddedStudent(config(student))
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))) as refused:
        await engine.load_adapter("it", tmp_path)
    assert "\n" not in str(refused.value)
    await engine.close()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "((x*)y)*z", "(?:a+){2,}", "(.*)*"])
def test_patterns_that_may_hang_are_known(pattern: str) -> None:
    assert may_hang(pattern)


@pytest.mark.parametrize("pattern", [r"model\.layers\.\d+\.(?:q|v)_proj", ".*_proj", "[(+]+a", r"a\)+", "all-linear"])
def test_patterns_as_people_write_them_are_not(pattern: str) -> None:
    assert not may_hang(pattern)


def test_our_own_pattern_is_not(student: Path) -> None:
    assert not may_hang(target_pattern(load_model(str(student), torch.float32, "eager"), LLAVA))
    with pytest.raises(ConfigError):
        check_adapter(student)


def test_a_student_whose_weights_are_cut_is_named(student: Path, tmp_path: Path) -> None:
    for file in student.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ConfigError, match="its weights cannot be read"):
        load_model(str(tmp_path), torch.float32, "eager")


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 'a' * 10 ** 15 }}",
    ],
)
def test_a_chat_template_without_an_end_is_refused(student: Path, tmp_path: Path, template: str) -> None:
    for file in student.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(ConfigError, match="chat template does not come to an end"):
        load_processor(str(tmp_path))
