"""The expert goes by one name."""

import httpx2

from agent.cli.microworld import SETTINGS
from eval.microworld.expert import app


async def test_the_expert_lists_the_model_that_the_demo_asks_for() -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://expert/v1/") as http:
        listed = (await http.get("models")).json()["data"]
    assert [model["id"] for model in listed] == [SETTINGS["teacher"]["model"]]
