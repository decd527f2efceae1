from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from agent.student.engine import Request
from tests.tiny_student import COLOURS, make_picture, make_tiny_student
from training.families.families import LLAVA, load_model, target_pattern


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, student: Path) -> list[Path]:
    """Two adapters that change much, with random weights."""
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = load_model(str(student), torch.float32, "eager")
        tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=target_pattern(model, LLAVA)))
        for name, value in tuned.named_parameters():
            if "lora_B" in name:
                value.data.normal_(std=0.3)
        folders.append(tmp_path_factory.mktemp("adapters") / f"adapter{seed}")
        tuned.save_pretrained(str(folders[-1]))
    return folders


@pytest.fixture(scope="session")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    """Eighteen requests of different lengths with no image, one, or two."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures = [make_picture(folder / f"{colour}.png", colour, size=40) for colour in COLOURS]
    return [
        Request(
            f"r{n:02}", "What colour is it?" + " Look." * (n % 5), tuple(pictures[(n + k) % 4] for k in range(n % 3))
        )
        for n in range(18)
    ]
