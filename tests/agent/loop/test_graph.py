"""The state machine as others see it."""

import importlib.util
import json
from pathlib import Path

from agent.loop.graph import build_graph

ROOT = Path(__file__).parents[3]


def test_studio_finds_the_graph() -> None:
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]["gaptutor"]
    path, _, attribute = named.partition(":")
    spec = importlib.util.spec_from_file_location("studio", ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    nodes = set(getattr(module, attribute).get_graph().nodes)
    assert {"evaluate", "decide", "diagnose", "review", "retrieve", "tune", "control", "finish"} <= nodes


def test_a_loop_that_ends_anywhere_still_gets_its_control() -> None:
    ends = {edge.source for edge in build_graph().get_graph().edges if edge.target == "finish"}
    assert ends == {"control"}
