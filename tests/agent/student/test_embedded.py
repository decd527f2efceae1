import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.config.schema import StudentConfig
from agent.student.adapters import check_adapter
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Reply, Request, Student
from retrieval.errors import ConfigError, StudentError
from retrieval.pool.images import read_image
from training.data.chat import prompt_text
from training.data.rows import process
from training.families import families
from training.families.families import load_model, load_processor


def config(student: Path, **changed: Any) -> StudentConfig:
    return StudentConfig(model=str(student), **{"dtype": "float32", "batch_size": 4, "max_new_tokens": 12, **changed})


@pytest.fixture
async def engine(student: Path) -> AsyncIterator[EmbeddedStudent]:
    engine = EmbeddedStudent(config(student))
    yield engine
    await engine.close()


async def texts(engine: Student, requests: Sequence[Request], adapter: str | None = None) -> dict[str, str]:
    return {reply.id: reply.text async for reply in engine.answer(requests, adapter)}


def plainest(student: Path, request: Request, limit: int = 12) -> Reply:
    """One request through transformers' own `generate`."""
    processor, model = load_processor(str(student)), load_model(str(student), torch.float32, "eager")
    text = prompt_text(processor, request.prompt, len(request.images)) + request.prefix
    inputs = process(processor, [text], [[read_image(path) for path in request.images]])
    with torch.no_grad():
        made = model.generate(**inputs, do_sample=False, max_new_tokens=limit)[0, inputs["input_ids"].shape[1] :]
    said = processor.tokenizer.decode(made, skip_special_tokens=True)
    return Reply(request.id, said, cut=processor.tokenizer.eos_token_id not in made.tolist())


async def test_answers_are_those_of_generate(engine: EmbeddedStudent, student: Path, requests: list[Request]) -> None:
    asked = [*requests, Request("prefix", "What colour is it?", requests[1].images, "Step 1: it is")]
    replies = {reply.id: reply async for reply in engine.answer(asked)}
    assert replies == {request.id: plainest(student, request) for request in asked}
    assert {reply.cut for reply in replies.values()} == {True, False}


async def test_the_general_way_gives_the_same_answers_and_scores(
    engine: EmbeddedStudent, student: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    continuations = [["red", " blue and green", ""]] * len(requests)
    answers, scores = await texts(engine, requests), await engine.score(requests, continuations)
    monkeypatch.setattr(families, "FAMILIES", ())
    general = EmbeddedStudent(config(student))
    assert await texts(general, requests) == answers
    for one, other in zip(await general.score(requests, continuations), scores, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    await general.close()


async def test_what_is_done_is_left_out_and_changes_no_other_answer(
    engine: EmbeddedStudent, requests: list[Request]
) -> None:
    whole = await texts(engine, requests)
    order = [reply.id async for reply in engine.answer(requests)]
    done = set(order[:6])
    rest = {reply.id: reply.text async for reply in engine.answer(requests, done=done)}
    assert rest == {name: text for name, text in whole.items() if name not in done}


async def test_a_picture_that_cannot_be_read_is_an_error_of_its_request_only(
    engine: EmbeddedStudent, requests: list[Request], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    bad = [Request("broken", "What?", (broken,))]
    replies = {reply.id: reply async for reply in engine.answer([*bad, *requests])}
    assert len(replies) == len(requests) + 1
    assert "broken.png" in (replies["broken"].error or "")
    assert all(replies[request.id].error is None for request in requests)
    scores = await engine.score([bad[0], requests[0]], [["a", "b"], ["a"]])
    assert all(math.isnan(score) for score in scores[0])
    assert math.isfinite(scores[1][0])


async def test_scores_are_mean_log_probabilities_of_the_continuation(
    engine: EmbeddedStudent, student: Path, requests: list[Request]
) -> None:
    asked = [replace(request, prefix="Step 1: it" * (n % 3)) for n, request in enumerate(requests)]
    continuations = [[" is red", "Answer: blue", "s"][: n % 4] for n in range(len(asked))]
    scores = await engine.score(asked, continuations)
    processor, model = load_processor(str(student)), load_model(str(student), torch.float32, "eager")
    for request, some, found in zip(asked, continuations, scores, strict=True):
        expected = [_score(model, processor, request, text) for text in some]
        assert found == pytest.approx(expected, abs=1e-4)


def _score(model: Any, processor: Any, request: Request, continuation: str) -> float:
    pictures = [[read_image(path) for path in request.images]]
    given = prompt_text(processor, request.prompt, len(request.images)) + request.prefix
    short = process(processor, [given], pictures)["input_ids"][0].tolist()
    inputs = process(processor, [given + continuation], pictures)
    ids = inputs["input_ids"][0].tolist()
    same = next((i for i, (a, b) in enumerate(zip(short, ids, strict=False)) if a != b), len(short))
    with torch.no_grad():
        chances = model(**inputs).logits[0].log_softmax(-1)
    return sum(float(chances[i - 1, ids[i]]) for i in range(same, len(ids))) / (len(ids) - same)


async def test_what_the_template_puts_before_an_answer_is_no_part_of_it(
    student: Path, requests: list[Request], tmp_path: Path
) -> None:
    for file in student.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    template = (student / "chat_template.jinja").read_text()
    spaced = template.replace("{{ message.content[0].text }}", "{{ ' ' + message.content[0].text }}")
    (tmp_path / "chat_template.jinja").write_text(spaced)
    engine = EmbeddedStudent(config(tmp_path))
    given = replace(requests[1], prefix="Step 1:")
    replies = [reply async for reply in engine.answer([given])]
    assert replies == [plainest(student, replace(given, prefix=" Step 1:"))]
    scores = await engine.score([requests[1], given], [["red"], [" it"]])
    processor, model = load_processor(str(student)), load_model(str(student), torch.float32, "eager")
    assert scores[0] == pytest.approx([_score(model, processor, requests[1], " red")], abs=1e-4)
    assert scores[1] == pytest.approx([_score(model, processor, replace(given, prefix=" Step 1:"), " it")], abs=1e-4)
    await engine.close()


async def test_adapters_come_and_go_by_name_and_leave_the_base_as_it_was(
    engine: EmbeddedStudent, requests: list[Request], adapters: list[Path]
) -> None:
    base = await texts(engine, requests)
    await engine.load_adapter("run.r01", adapters[0])
    await engine.load_adapter("run.r02", adapters[1])
    first, second = await texts(engine, requests, "run.r01"), await texts(engine, requests, "run.r02")
    assert len({tuple(some.values()) for some in (base, first, second)}) == 3
    assert await texts(engine, requests) == base
    assert await texts(engine, requests, "run.r01") == first
    await engine.drop_adapter("run.r01")
    await engine.drop_adapter("never loaded")
    with pytest.raises(StudentError, match=r"run\.r01"):
        await texts(engine, requests, "run.r01")
    assert await texts(engine, requests, "run.r02") == second
    await engine.drop_adapter("run.r02")
    assert await texts(engine, requests) == base


async def test_a_released_student_comes_back_with_its_adapters(
    engine: EmbeddedStudent, requests: list[Request], adapters: list[Path]
) -> None:
    await engine.load_adapter("one", adapters[0])
    before = await texts(engine, requests, "one")
    await engine.release()
    assert await texts(engine, requests, "one") == before


async def test_an_adapter_that_does_not_fit_is_refused(
    engine: EmbeddedStudent, requests: list[Request], adapters: list[Path], tmp_path: Path
) -> None:
    await engine.release()
    with pytest.raises(ConfigError, match="not an adapter folder"):
        await engine.load_adapter("none", tmp_path)
    assert engine._engine is None  # found out before the model was loaded
    for file in adapters[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"[]")
        with pytest.raises(ConfigError, match="not an adapter folder"):
            check_adapter(tmp_path)
        (tmp_path / name).write_bytes(kept)
    check_adapter(tmp_path)
    settings = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(settings.replace("q_proj", "k_proj"))
    with pytest.raises(StudentError, match="does not fit"):
        await engine.load_adapter("other", tmp_path)
    await engine.load_adapter("right", adapters[0])
    assert await texts(engine, requests, "right") != await texts(engine, requests)


def test_a_model_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a model folder"):
        EmbeddedStudent(config(tmp_path / "nothing"))


async def test_pictures_are_read_a_batch_at_a_time(
    engine: EmbeddedStudent, requests: list[Request], tmp_path: Path
) -> None:
    asked = [replace(request, id=f"{n}", images=(tmp_path / f"{n}.png",)) for n, request in enumerate(requests)]
    for request in asked:
        request.images[0].write_bytes(requests[1].images[0].read_bytes())
    replies = engine.answer(asked)
    first = await anext(replies)
    for request in asked:
        if request.id != first.id:
            request.images[0].unlink()
    errors = [reply async for reply in replies if reply.error]
    assert len(errors) == len(asked) - 4
