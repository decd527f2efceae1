"""What cannot be a student is told in one sentence, from its files alone."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma3nConfig, GitConfig, LlamaConfig

from retrieval.errors import ConfigError
from tests.small_models import make_small_model
from tests.tiny_student import TEMPLATE
from training.families.families import load_processor
from training.lora.checks import check_student


@pytest.fixture
def copy(student: Path, tmp_path: Path) -> Path:
    """A tiny student to spoil."""
    return Path(shutil.copytree(student, tmp_path / "copy"))


def change(file: Path, edit: Callable[[Any], None]) -> None:
    """Edit a JSON file."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def refusal(model: Path) -> str:
    """What the user is told; always one line."""
    with pytest.raises(ConfigError) as caught:
        check_student(str(model))
    (line,) = str(caught.value).splitlines()
    return line.replace(str(model), "MODEL")


def test_a_good_student_passes(student: Path) -> None:
    check_student(str(student))


def test_a_family_that_transformers_does_not_know_is_named(copy: Path) -> None:
    change(copy / "config.json", lambda config: config.update(model_type="new_vl"))
    assert refusal(copy).startswith("MODEL is of a family that transformers 5.")
    assert "(model_type new_vl)" in refusal(copy)


def test_a_model_that_reads_no_images_is_named(copy: Path) -> None:
    LlamaConfig(num_hidden_layers=1).save_pretrained(copy)
    assert refusal(copy).startswith("MODEL answers no questions about images (model_type llama); take another model")


def test_a_family_whose_language_layers_cannot_be_told_is_named(copy: Path) -> None:
    GitConfig(num_hidden_layers=1).save_pretrained(copy)
    assert refusal(copy) == (
        "MODEL cannot be tuned: its language layers cannot be told from the rest (GitForCausalLM is in none of our "
        "families); take another model; docs/families.md lists those that are tested"
    )


def test_a_config_that_makes_no_model_is_named(copy: Path) -> None:
    change(copy / "config.json", lambda config: config.update(model_type="chameleon"))
    assert refusal(copy).startswith("MODEL cannot be built as its config.json says: ")


@pytest.mark.parametrize("model", ["llava-1.5", "qwen2.5-vl", "gemma-3", "idefics3"])
def test_a_template_that_leaves_images_out_gives_no_image_tokens(model: str, tmp_path: Path) -> None:
    folder = make_small_model(model, tmp_path / "model")
    template = TEMPLATE.replace("<image>", "").replace("bos_token", "''")
    (folder / "chat_template.jinja").write_text(template)
    assert refusal(folder).startswith("MODEL gives no image tokens: ")
    assert "chat template" in refusal(folder)


def test_a_template_that_takes_texts_only_gives_no_image_tokens(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content + 'x' }}{% endfor %}")
    assert refusal(copy).startswith(
        "MODEL gives no image tokens: its chat template fails on a question about an image ("
    )


def test_a_processor_without_its_settings_gives_no_image_tokens(copy: Path) -> None:
    change(copy / "processor_config.json", lambda settings: settings.pop("patch_size"))
    assert refusal(copy).startswith("MODEL gives no image tokens: the model's processor cannot take it: ")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed, so it has what it needs")
def test_what_a_processor_needs_installed_is_named(copy: Path) -> None:
    change(
        copy / "processor_config.json",
        lambda settings: settings["image_processor"].update(image_processor_type="InklingImageProcessor"),
    )
    assert refusal(copy).startswith(
        "the processor of MODEL needs torchvision: install it in the build that fits torch 2."
    )


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed, so the model has what it needs")
def test_what_a_model_needs_installed_is_named(copy: Path) -> None:
    Gemma3nConfig().save_pretrained(copy)
    assert refusal(copy) == "MODEL needs timm: pip install timm, then run again"


@pytest.mark.parametrize("file", ["processor_config.json", "video_preprocessor_config.json"])
def test_settings_for_videos_are_passed_over(file: str, tmp_path: Path) -> None:
    folder = make_small_model("qwen3-vl", tmp_path / "model")
    videos = {"video_processor_type": "Qwen3VLVideoProcessor", "processor_class": "Qwen3VLProcessor"}
    if file == "processor_config.json":  # as transformers 5 writes all settings, into one file
        images = folder / "preprocessor_config.json"
        settings = {"image_processor": json.loads(images.read_text()), "video_processor": videos}
        (folder / file).write_text(json.dumps({**settings, "processor_class": "Qwen3VLProcessor"}))
        images.unlink()
    else:
        (folder / file).write_text(json.dumps(videos))
    check_student(str(folder))


def test_a_family_that_has_no_template_of_its_own_is_given_one(tmp_path: Path) -> None:
    folder = make_small_model("paligemma", tmp_path / "model")
    assert not (folder / "chat_template.jinja").exists()
    assert "part.text" in load_processor(str(folder)).chat_template
