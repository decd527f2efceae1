"""What the vLLM engine does differently for some families, without vLLM."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from agent.config.schema import StudentConfig
from agent.student import engine_of
from agent.student.vllm.room import Ruler
from agent.student.vllm.student import VllmStudent
from retrieval.errors import ConfigError
from retrieval.pool.images import read_image
from tests.small_models import make_small_model
from training.data.chat import prompt_text
from training.data.rows import process
from training.families.families import load_processor


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_model("paligemma", tmp_path_factory.mktemp("small") / "paligemma")


def with_vllm(model: Path, **changed: object) -> StudentConfig:
    return StudentConfig.model_validate({"model": str(model), "vllm": {"python": "python"}, **changed})


def test_a_family_that_vllm_cannot_serve_is_refused_at_once(paligemma: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot serve PaliGemma .*; set student\.engine to embedded"):
        VllmStudent(with_vllm(paligemma, engine="vllm"), tmp_path)


def test_auto_takes_the_engine_that_can_serve_the_family(
    paligemma: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [engine_of(with_vllm(model)) for model in (paligemma, student)] == ["embedded", "vllm"]


@pytest.mark.parametrize("size", [(20, 50), (56, 28), (90, 40)])
def test_mistral_3_is_sent_what_its_processor_makes_of_an_image(size: tuple[int, int], tmp_path: Path) -> None:
    model, path = make_small_model("mistral-3", tmp_path / "model"), tmp_path / "picture.png"
    Image.radial_gradient("L").resize(size).convert("RGB").save(path)
    sent = read_image(Ruler(StudentConfig(model=str(model))).picture(path))
    # vLLM counts patches of 14 points and merges them two by two; what is left over at the edges is lost.
    assert [side % 28 for side in sent.size] == [0, 0]
    processor = load_processor(str(model))
    pixels = [
        process(processor, [prompt_text(processor, "a", 1)], [[image]])["pixel_values"]
        for image in (read_image(path), sent)
    ]
    torch.testing.assert_close(pixels[1], pixels[0], atol=0, rtol=0)


def test_other_families_are_sent_the_file_as_it_is(student: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 50), "teal").save(buffer, "PNG")
    (tmp_path / "picture.png").write_bytes(buffer.getvalue())
    assert Ruler(StudentConfig(model=str(student))).picture(tmp_path / "picture.png") == buffer.getvalue()
