"""A run whose teacher does not speak as it should ends at its start, through the command, and goes on when it is mended."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from retrieval.storage.files import read_json, read_jsonl
from tests.endpoint import Scripted, Seen, fail, served


def call(capsys: pytest.CaptureFixture[str], config: Path, run: Path, url: str) -> tuple[int, str]:
    """`gaptutor run`: its exit code and the last line that it said."""
    with pytest.raises(SystemExit) as ended:
        main(["run", str(config), "--run-dir", str(run), "--set", f"teacher.base_url={url}"])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_teacher_that_answers_in_another_language_is_told_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def mended(seen: Seen) -> Any:
        return {"same": [1]} if seen.kind in (None, "same_skill") else fail(401, "for the start only")

    make_data(tmp_path / "data", "arithmetic", 100)
    config, run = tmp_path / "small.yaml", tmp_path / "run"
    settings: dict[str, Any] = {"teacher": {"app": None, "model": "teacher-1"}, "data": {"limit": 4}}
    config.write_text(render(world_config("small", tmp_path / "data", "arithmetic", 100, **settings)))
    german = Scripted(then="Die erste Fähigkeit ist dieselbe.")
    with served(german) as url:
        for _ in range(2):
            code, said = call(capsys, config, run, url)
            assert code == 2
            assert re.search(r"plain question as it should \(malformed: .*'Die erste Fähigkeit ist dieselbe.'\)", said)
    asked = [seen.kind for seen in german.requests]
    assert asked == [None, *["same_skill"] * 4], "the first start shows a picture, each asks anew, with one repair"
    with served(Scripted(then=mended)) as url:
        code, said = call(capsys, config, run, url)
    assert "HTTP 401: " in said, "the start was passed, and the pool's skills were asked for"
    assert read_json(run / "run.json")["state"] == "failed"
    assert [row["kind"] for row in read_jsonl(run / "teacher.jsonl")] == ["same_skill"] * 5, (
        "all that was paid is there"
    )


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 500])
def test_a_teacher_that_cannot_see_is_told_at_the_start_and_goes_on_blind_if_it_is_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """As llama.cpp words it; nothing is paid before."""

    def blind(seen: Seen) -> Any:
        if seen.images:
            return fail(status, "image input is not supported - hint: you may need to provide the mmproj")
        return {"same": [1]} if seen.kind in (None, "same_skill") else fail(401, "for the start only")

    make_data(tmp_path / "data", "arithmetic", 100)
    config, run, endpoint = tmp_path / "small.yaml", tmp_path / "run", Scripted(then=blind)
    settings: dict[str, Any] = {"teacher": {"app": None, "model": "teacher-1"}, "data": {"limit": 4}}
    with served(endpoint) as url:
        config.write_text(render(world_config("small", tmp_path / "data", "arithmetic", 100, **settings)))
        code, said = call(capsys, config, run, url)
        assert (code, "mmproj" in said, "teacher.see_images" in said) == (2, True, True)
        assert not (run / "teacher.jsonl").exists()
        settings["teacher"]["see_images"] = False
        config.write_text(render(world_config("small", tmp_path / "data", "arithmetic", 100, **settings)))
        before = len(endpoint.requests)
        code, said = call(capsys, config, run, url)
    assert "HTTP 401: " in said, "it went on to the pool"
    assert not any(seen.images for seen in endpoint.requests[before:])
