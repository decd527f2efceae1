import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import close_session, constants
from torch import nn
from transformers import AriaConfig, LlavaConfig

from retrieval.errors import ConfigError
from tests.endpoint import closed_port
from training.families import families
from training.families.families import (
    GENERAL,
    LLAVA,
    check_model,
    family_of,
    load_model,
    load_processor,
    target_pattern,
)


@pytest.mark.parametrize("family", [LLAVA, GENERAL])
def test_the_pattern_takes_every_linear_layer_of_the_language_model_and_no_other(student: Path, family: object) -> None:
    model = load_model(str(student), torch.float32, "eager")
    pattern = target_pattern(model, family)  # type: ignore[arg-type]
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    taken = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    assert taken == {name for name in linear if name.startswith("model.language_model.layers.")}
    assert len(taken) == 14


def test_a_family_is_known_by_its_type_and_where_that_is_not_enough_by_its_vision_part() -> None:
    assert family_of(LlavaConfig()) is LLAVA
    assert family_of(LlavaConfig(vision_config={"model_type": "pixtral"})).name == "Pixtral"
    assert family_of(AriaConfig()) is GENERAL


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


class Hub(ThreadingHTTPServer):
    """A model hub on a free loopback port, which gives the status to every question and counts them."""

    daemon_threads = True

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.headers, self.asked = status, headers, list[str]()


class Answering(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = b'{"id": "some/model"}'
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ask_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Makes the loopback port given the hub of this machine, on which nothing was fetched before."""

    def at(port: int) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    # The hub's client would ask for more than the model, and write it into the home folder.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    families._check_on_hub.cache_clear()
    close_session()
    yield at
    families._check_on_hub.cache_clear()
    close_session()


@pytest.fixture
def hub(ask_hub: Callable[[int], None]) -> Iterator[Callable[..., Hub]]:
    """Starts hubs and stops them at the end."""
    started: list[Hub] = []

    def start(status: int, **headers: str) -> Hub:
        started.append(Hub(status, {name.replace("_", "-"): value for name, value in headers.items()}))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        ask_hub(started[-1].server_port)
        return started[-1]

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


def refusal(model: str) -> str:
    """What the user is told about a model; always one line."""
    with pytest.raises(ConfigError) as caught:
        check_model(model)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_model_of_the_hub_is_asked_for_once(hub: Callable[..., Hub]) -> None:
    asked = hub(200).asked
    check_model("some/model")
    check_model("some/model")
    assert asked == ["/api/models/some/model"]


def test_a_model_that_the_hub_does_not_have_is_named(hub: Callable[..., Hub]) -> None:
    hub(404, X_Error_Code="RepoNotFound")
    assert refusal("some/model").startswith("some/model is neither a folder here nor a model on the hub")


def test_what_cannot_be_a_models_name_is_not_asked_for(hub: Callable[..., Hub]) -> None:
    asked = hub(200).asked
    assert refusal("no model!").startswith("no model! is neither a folder here nor a model on the hub")
    assert asked == []


def test_a_model_that_was_fetched_before_is_not_asked_for(ask_hub: Callable[[int], None], tmp_path: Path) -> None:
    ask_hub(closed_port())
    fetched = tmp_path / "models--some--model"
    (fetched / "refs").mkdir(parents=True)
    (fetched / "refs" / "main").write_text("abc")
    (fetched / "snapshots" / "abc").mkdir(parents=True)
    (fetched / "snapshots" / "abc" / "config.json").write_text("{}")
    check_model("some/model")


def test_without_the_hub_the_reason_is_named(
    ask_hub: Callable[[int], None], hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "some/model is no folder here and was not fetched before, and the hub cannot be asked ("
    ask_hub(closed_port())
    assert refusal("some/model").startswith(told)
    hub(503)
    assert "503" in refusal("some/model").removeprefix(told)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline" in refusal("some/model").removeprefix(told)


def test_a_hub_that_does_not_answer_is_not_waited_for(
    ask_hub: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "HUB_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        ask_hub(silent.getsockname()[1])
        assert "the hub cannot be asked (" in refusal("some/model")
