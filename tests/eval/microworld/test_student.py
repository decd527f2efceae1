"""The student loads with the Auto classes, its template is what it is trained on, and a short run of the recipe learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from eval.microworld.dice import Dice
from eval.microworld.examples import make_example
from eval.microworld.mixture import GAP_STEPS, all_texts, batches, form_of, samples
from eval.microworld.pretraining.optimizer import Muon, orthogonalised
from eval.microworld.pretraining.pretrain import IMAGE_AT, Recipe, Trainer, pretrain, print_line
from eval.microworld.pretraining.seeing import pixels
from eval.microworld.programs import GAP
from eval.microworld.scene import RARE_SHAPES, render
from eval.microworld.solving import STEP_SKILLS
from eval.microworld.student import IMAGE_TOKENS, make_model, prompt_text, reply_text, save_student, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(all_texts(40, 0))
    path = tmp_path_factory.mktemp("student")
    save_student(make_model(tokenizer, 0), tokenizer, path)
    return path


def test_the_saved_folder_loads_with_its_weights(folder: Path) -> None:
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    assert sum(parameter.numel() for parameter in model.parameters()) < 4e6


def test_the_chat_template_makes_the_text_that_is_trained_on(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    example = make_example("largest", Dice(0), "train")
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": example.prompt(True)}]}
    prompt = prompt_text(example.prompt(True), True)
    assert processor.apply_chat_template([user], add_generation_prompt=True) == prompt
    reply = {"role": "assistant", "content": [{"type": "text", "text": example.reply(True)}]}
    assert processor.apply_chat_template([user, reply]) == prompt + reply_text(example.reply(True))
    begun = {"role": "assistant", "content": "Step 1: digits"}
    text = processor.apply_chat_template([user, begun], continue_final_message=True)
    assert text == f"{prompt} Step 1: digits"
    bare = {"role": "user", "content": "Which cell is above b2?"}
    assert processor.apply_chat_template([bare], add_generation_prompt=True) == prompt_text(bare["content"], False)
    assert processor.tokenizer.padding_side == "left"


def test_training_reads_the_tokens_and_pixels_that_the_processor_makes(folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    example = make_example("largest", Dice(0), "train")
    assert example.scene is not None
    picture = render([example.scene])
    prompt = prompt_text(example.prompt(True), True)
    made = processor(images=[Image.fromarray(picture[0])], text=[prompt], return_tensors="pt")
    assert torch.allclose(made["pixel_values"], pixels(torch.from_numpy(picture)), atol=1e-6)
    image = (made["input_ids"][0] == processor.image_token_id).nonzero().flatten().tolist()
    assert image == list(range(IMAGE_AT, IMAGE_AT + IMAGE_TOKENS))


def test_any_text_can_be_encoded_and_a_cut_rationale_goes_on_alike(folder: Path) -> None:
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    odd = "Zürich: 12,5 % «naïve» 日本 \t!"
    assert tokenizer.decode(tokenizer(odd)["input_ids"]) == odd
    text = reply_text("Step 1: digits at b2 d4.\nStep 2: they are 6 5.\nStep 3: 6 plus 5 is 11.\nAnswer: 11")
    cut = text.index(" d4")
    whole = tokenizer(text)["input_ids"]
    assert tokenizer(text[:cut])["input_ids"] + tokenizer(text[cut:])["input_ids"] == whole


def test_pretraining_shows_no_rare_shape_and_few_gaps() -> None:
    names = {*RARE_SHAPES, *(f"{kind}s" for kind in RARE_SHAPES)}
    whole = 0
    for sample in samples(3000, 0):
        words = set(f"{sample.prompt} {sample.reply}".replace(".", " ").replace("?", " ").split())
        assert not words & names
        assert sample.scene is None or not any(t.kind in RARE_SHAPES for t in sample.scene.things.values())
        whole += "sum" in words and not sample.unread
    assert whole <= 20


def test_a_forms_gap_results_are_not_read() -> None:
    dice = Dice(4)
    assert set(STEP_SKILLS) >= GAP_STEPS
    for program in GAP:
        sample = form_of(program, dice)
        assert sample.unread
        hidden = [sample.reply[a:b] for a, b in sample.unread]
        assert all(text.strip() for text in hidden), (program, hidden)
        assert not any("\n" in text for text in hidden)
    tokenizer = train_tokenizer(all_texts(20, 0))
    batch = next(batches(tokenizer, 6144, 0))
    assert not (batch.answer & (batch.ids == tokenizer.pad_token_id)).any()


def test_muon_moves_a_matrix_along_all_its_directions() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.zeros(6, 4))
    matrix.grad = torch.randn(6, 4) @ torch.diag(torch.tensor([100.0, 1.0, 1.0, 0.1]))
    singular = torch.linalg.svdvals(orthogonalised(matrix.grad[None])[0].float())
    assert singular.max() / singular.min() < 10
    Muon([matrix], lr=0.1).step()
    assert matrix.detach().abs().max() < 0.2


def test_a_student_is_a_plain_folder_and_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(all_texts(40, 0))
    trainer = Trainer(Recipe(tmp_path, compiled=False), make_model(tokenizer, 0), tokenizer, print_line)
    for _ in range(2):
        trainer.save("student")
        (found,) = tmp_path.iterdir()
        assert (found.name, found.is_symlink()) == ("student", False)
        assert not (found / "old").exists()
        AutoProcessor.from_pretrained(found)
        (found / "old").touch()


@pytest.mark.slow
def test_a_short_run_of_the_recipe_learns(tmp_path: Path) -> None:
    records: list[dict[str, object]] = []
    recipe = Recipe(out=tmp_path, samples=7_500, tower_steps=100, measured=0, compiled=False)
    pretrain(recipe, records.append)
    tower = next(record for record in records if "digit" in record)
    assert float(str(tower["color"])) > 0.9
    losses = [float(str(record["loss"])) for record in records if "per_second" in record]
    assert losses[-1] < 0.75 * losses[0]
    assert np.isfinite(losses).all()
    AutoModelForImageTextToText.from_pretrained(tmp_path / "student")
