"""Addresses are written down, so they hold no key; a real path is no key."""

from pathlib import Path

import pytest

from agent.cli.main import main
from agent.config.addresses import refuse_secrets

CANARY = "Zq7kR2mXv9TbW4nLp8Yd"
PLACES = ("teacher.base_url", "student.vllm.url", "pool.chroma_url")


@pytest.mark.parametrize(
    "address",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:8000",
        "https://r.openai.azure.com/openai/deployments/gpt-4o-mini-2024-07-18",
        "https://h/api/projects/123e4567-e89b-12d3-a456-426614174000/v1",
        "https://gateway.ai.cloudflare.com/v1/0123456789abcdef0123456789abcdef/mine/openai",
        "https://eu-west1-aiplatform.googleapis.com/v1beta1/projects/my-project-4711/locations/europe-west1/endpoints/openapi",
        "https://h/accounts/fireworks/models/llama-v3p1-405b-instruct",
        "https://h/sk-team/v1",
    ],
)
def test_real_paths_pass(address: str) -> None:
    refuse_secrets("teacher.base_url", address)


@pytest.mark.parametrize(
    "tail",
    ["sk-proj-abcdefgh/v1", "gsk_abcdefghijkl", "hf_abcdefghijkl", "AIzaSyAbcdefgh", f"v1/{CANARY}", f"v1;key={CANARY}",
     "v1/sk%2Dproj-abcdefgh", "0123456789abcdef0123456789abcdef/v1", "v1#x", f"v1#{CANARY}", "v1?", "v1?key=x"],
)  # fmt: skip
def test_what_may_be_a_key_is_refused(tail: str) -> None:
    with pytest.raises(ValueError, match=r"go into the environment$") as refused:
        refuse_secrets("teacher.base_url", f"https://host/{tail}")
    assert "abcdefgh" not in str(refused.value)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("url", [f"http://127.0.0.1:9/{CANARY}/v1", f"http://127.0.0.1:9/v1#{CANARY}"])
def test_a_key_in_a_path_or_fragment_is_in_no_file_and_no_message(
    place: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row `key canaries in environment, config, URL, exception` of the durability table."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: a\ndata: {validation: v.jsonl}\npool: {path: p.json}\nstudent: {model: s}\nteacher: {model: t}\n"
    )
    for command in ("run", "doctor"):
        more = ["--run-dir", str(tmp_path / "run")] if command == "run" else []
        with pytest.raises(SystemExit) as ended:
            main([command, str(config), "--set", f"{place}={url}", *more])
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert f"{place} " in said.err
        assert CANARY not in said.out + said.err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
