from pathlib import Path

import torch

from tests.tiny_student import make_picture, write_rows
from training.data.chat import ChatFormat
from training.data.collate import Collator
from training.data.rows import Prepared, prepare
from training.families.families import GENERAL, LLAVA, load_model, load_processor, stop_tokens


def encode(
    student: Path, rows: list[dict[str, object]], tmp_path: Path, family: object = LLAVA
) -> tuple[Prepared, object, object]:
    model = load_model(str(student), torch.float32, "eager")
    processor = load_processor(str(student))
    chat = ChatFormat(processor, stop_tokens(model, processor))
    file = write_rows(tmp_path / "samples.jsonl", rows)
    return prepare(file, model, processor, chat, family, 64, tmp_path / "features"), model, processor  # type: ignore[arg-type]


def test_samples_that_cannot_be_used_are_set_aside_with_the_reason(student: Path, tmp_path: Path) -> None:
    picture = str(make_picture(tmp_path / "red.png", "red"))
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    rows: list[dict[str, object]] = [
        {"id": "good", "turns": [["Which?", "red"]], "images": [picture]},
        {"id": "text", "turns": [["Which?", "none"]], "images": []},
        {"id": "broken", "turns": [["Which?", "red"]], "images": [str(broken)]},
        {"id": "missing", "turns": [["Which?", "red"]], "images": [str(tmp_path / "none.png")]},
        {"id": "long", "turns": [["Which?" * 40, "red"]], "images": [picture]},
    ]
    data, _, _ = encode(student, rows, tmp_path)
    assert [sample.id for sample in data.samples] == ["good", "text"]
    reasons = {one.sample: one.reason for one in data.set_aside}
    assert set(reasons) == {"broken", "missing", "long"}
    assert "broken.png" in reasons["broken"]
    assert "max_length" in reasons["long"]


def test_so_many_are_taken_and_those_after_them_are_not_looked_at(student: Path, tmp_path: Path) -> None:
    model, processor = load_model(str(student), torch.float32, "eager"), load_processor(str(student))
    rows: list[dict[str, object]] = [{"id": f"{n}", "turns": [["Which?", "none"]], "images": []} for n in range(9)]
    rows[1]["images"] = rows[6]["images"] = ["nowhere.png"]
    file = write_rows(tmp_path / "samples.jsonl", rows)
    chat = ChatFormat(processor, stop_tokens(model, processor))
    data = prepare(file, model, processor, chat, LLAVA, 64, tmp_path / "features", take=4)
    assert [sample.id for sample in data.samples] == ["0", "2", "3", "4"]
    assert [one.sample for one in data.set_aside] == ["1"]


def test_samples_of_texts_alone_need_no_tower(student: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": f"{n}", "turns": [["Which?", "none"]], "images": []} for n in range(3)]
    data, _, _ = encode(student, rows, tmp_path)
    assert len(data.samples) == 3


def test_stored_features_give_the_logits_that_the_whole_model_gives(student: Path, tmp_path: Path) -> None:
    red, blue = (str(make_picture(tmp_path / f"{colour}.png", colour)) for colour in ("red", "blue"))
    rows: list[dict[str, object]] = [
        {"id": "two", "turns": [["Which are these?", "red and blue"]], "images": [red, blue]},
        {"id": "one", "turns": [["Which?", "blue"]], "images": [blue]},
        {"id": "none", "turns": [["Which?", "I see none"]], "images": []},
    ]
    stored, model, processor = encode(student, rows, tmp_path)
    whole, _, _ = encode(student, rows, tmp_path, GENERAL)
    ours = Collator(processor, stored.table)(stored.samples)
    theirs = Collator(processor, whole.table)(whole.samples)
    embedded = model.get_input_embeddings()(ours["input_ids"])  # type: ignore[attr-defined]
    embedded[ours["image_mask"]] = ours["features"]
    with torch.no_grad():
        quick = model(inputs_embeds=embedded).logits  # type: ignore[operator]
        labels = theirs.pop("labels")
        slow = model(**theirs).logits  # type: ignore[operator]
    assert torch.equal(labels, ours["labels"])
    real = theirs["attention_mask"].bool()
    torch.testing.assert_close(quick[real], slow[real], atol=1e-4, rtol=1e-4)
