import re
from pathlib import Path

import pytest
import torch
from torch import nn

from retrieval.errors import ConfigError
from training.families import GENERAL, LLAVA, check_model, family_of, load_model, load_processor, target_pattern


@pytest.mark.parametrize("family", [LLAVA, GENERAL])
def test_the_pattern_takes_every_linear_layer_of_the_language_model_and_no_other(student: Path, family: object) -> None:
    model = load_model(str(student), torch.float32, "eager")
    pattern = target_pattern(model, family)  # type: ignore[arg-type]
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    taken = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    assert taken == {name for name in linear if name.startswith("model.language_model.layers.")}
    assert len(taken) == 14


def test_llava_is_known_and_others_go_the_general_way() -> None:
    assert family_of("llava") is LLAVA
    assert family_of("some_new_model") is GENERAL


def test_what_is_no_model_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere is not a model folder: it does not exist"):
        check_model(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"it has no config\.json"):
        check_model(str(tmp_path))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="it is a file"):
        check_model(str(file))


def test_a_broken_model_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not a model folder"):
        load_processor(str(tmp_path))
    with pytest.raises(ConfigError, match="is not a model folder"):
        load_model(str(tmp_path), torch.float32, "eager")
