"""`gaptutor init` on a validation set whose images lie elsewhere."""

import json
from pathlib import Path

import pytest
from PIL import Image

from agent.cli import main
from agent.config import load_config


def test_init_looks_for_images_where_it_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    items, out = tmp_path / "items.jsonl", tmp_path / "mine.yaml"
    items.write_text(json.dumps({"image": "a.png", "question": "What colour?", "answer": "black"}))
    words = ["init", items, "--student", "s", "--teacher", "t", "--out", out, "--images", tmp_path / "pictures"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0
    assert "1 items read" in capsys.readouterr().out
    assert load_config(out, []).data.images == tmp_path / "pictures"
