"""The skill index in a real Chroma server, and what is said when there is none."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chromadb
import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from retrieval import Embedder, Pool, SkillIndex
from retrieval.errors import PoolError
from retrieval.index import vector_store
from retrieval.index.vector_store import VectorStore, server_address
from tests.endpoint import served
from tests.retrieval.conftest import llava_row

SKILLS = ["picking the smallest digit", "choosing the largest digit", "adding two digits", "naming a rare shape"]
ASKED = ["the least of the numerals", "summing numbers", "a shape seldom seen", "digit"]


@contextmanager
def chroma(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Address and process of a server that has answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, chroma = f"http://127.0.0.1:{port}", Path(sys.executable).with_name("chroma")
    command = [chroma, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    with open(folder.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        while not answers(url):
            assert process.poll() is None, folder.with_suffix(".log").read_text()
            time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/heartbeat").is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma(tmp_path_factory.mktemp("chroma") / "data") as (url, _):
        yield url


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    rows = [llava_row(number, image=False) for number in range(12)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    return Pool.build(tmp_path / "pool.json", None, tmp_path / "store")


@pytest.fixture
def skills(pool: Pool) -> dict[str, list[str]]:
    return {name: [SKILLS[number % len(SKILLS)]] for number, name in enumerate(pool.ids)}


@pytest.mark.served
def test_a_server_finds_what_a_folder_finds_also_after_reopening(
    server: str, pool: Pool, skills: dict[str, list[str]], embedder: Embedder, tmp_path: Path
) -> None:
    with SkillIndex.build(tmp_path / "own", pool, skills, embedder) as index:
        expected = [index.search(asked, 3, "dense") for asked in ASKED]
    with SkillIndex.build(tmp_path / "index", pool, skills, embedder, server) as index:
        assert [index.search(asked, 3, "dense") for asked in ASKED] == expected
    with SkillIndex.open(index.folder, pool, embedder, server) as index:
        assert [index.search(asked, 3, "dense") for asked in ASKED] == expected
    assert not list(index.folder.glob("chroma-*")), "the server keeps the vectors, not the folder"


def proxy_to(server: str) -> Any:
    """A proxy that hands to a server what comes in below /v1."""

    async def forward(request: Request) -> Response:
        async with httpx.AsyncClient() as client:
            path, kind = request.path_params["path"], request.headers.get("content-type", "")
            reply = await client.request(
                request.method,
                f"{server}/{path}",
                params=str(request.query_params),
                content=await request.body(),
                headers={"content-type": kind},
            )
        return Response(reply.content, reply.status_code)

    methods = ["GET", "POST", "PUT", "DELETE"]
    return SimpleNamespace(app=Starlette(routes=[Route("/v1/{path:path}", forward, methods=methods)]))


@pytest.mark.served
def test_a_server_behind_a_path_of_a_proxy_is_the_same_server(server: str) -> None:
    vectors = np.eye(5, 4, dtype=np.float32)
    with served(proxy_to(server)) as url, VectorStore(Path("nowhere"), f"{url}/", "skills-proxied") as behind:
        behind.write(vectors)
        with VectorStore(Path("nowhere"), server, "skills-proxied") as direct:
            assert direct.count() == behind.count() == 5
        with pytest.raises(PoolError, match=rf"cannot use the Chroma server at {url}/wrong: .*status 404"):
            VectorStore(Path("nowhere"), f"{url}/wrong", "skills-proxied")


@pytest.mark.served
def test_an_index_can_be_removed_with_its_collection_and_is_made_again(
    server: str, pool: Pool, skills: dict[str, list[str]], embedder: Embedder, tmp_path: Path
) -> None:
    with SkillIndex.build(tmp_path / "index", pool, skills, embedder, server) as index:
        folder, expected = index.folder, index.search(ASKED[0], 3)
    client, begins = chromadb.HttpClient(server), folder.name.replace("index-", "skills-")
    (name,) = [each.name for each in client.list_collections() if each.name.startswith(begins)]
    client.delete_collection(name)
    with pytest.raises(PoolError, match=r"Chroma has 0; delete it"):
        SkillIndex.open(folder, pool, embedder, server)
    shutil.rmtree(folder)
    with SkillIndex.build(tmp_path / "index", pool, skills, embedder, server) as index:
        assert (index.folder, index.search(ASKED[0], 3)) == (folder, expected)


@pytest.mark.served
def test_past_the_exact_limit_the_servers_graph_ranks_the_same(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.eye(40, 8, dtype=np.float32) + np.linspace(0, 0.1, 320, dtype=np.float32).reshape(40, 8)
    with VectorStore(Path("nowhere"), server, "skills-graph") as store:
        store.write(vectors)
        monkeypatch.setattr(vector_store, "EXACT", 3)
        rows, scores = store.nearest(vectors[5], 2)
    best = int(np.argmax(vectors @ vectors[5]))
    assert rows[np.argmax(scores)] == best
    np.testing.assert_allclose(scores, (vectors @ vectors[5])[rows], atol=1e-5)


@pytest.mark.served
def test_what_another_run_reads_is_not_written_again(
    server: str, pool: Pool, skills: dict[str, list[str]], embedder: Embedder, tmp_path: Path
) -> None:
    with SkillIndex.build(tmp_path / "one", pool, skills, embedder, server) as one:
        before = one.search("digit", 3, "dense")
        SkillIndex.build(tmp_path / "other", pool, skills, embedder, server).close()
        assert one.search("digit", 3, "dense") == before


@pytest.mark.served
def test_what_another_machine_is_writing_is_added_to_and_never_taken_away(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "_PAGE", 2)
    vectors = np.eye(5, 4, dtype=np.float32)
    with VectorStore(Path("nowhere"), server, "skills-shared") as one:
        one.write(vectors[:2])  # as far as another machine has come
        with VectorStore(Path("nowhere"), server, "skills-shared") as other:
            other.write(vectors)
        assert one.count() == len(vectors)
        one.write(vectors)
        np.testing.assert_array_equal(one.nearest(vectors[3], 1)[1], vectors @ vectors[3])


@pytest.mark.served
def test_other_vectors_replace_those_of_a_collection(server: str) -> None:
    old, new = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[::-1]
    with VectorStore(Path("nowhere"), server, "skills-replaced") as store:
        store.write(old)
        store.write(new)
        assert np.argmax(store.nearest(old[0], 1)[1]) == 2
    with VectorStore(Path("nowhere"), server, "skills-replaced") as store:
        assert np.argmax(store.nearest(old[0], 1)[1]) == 2


@pytest.mark.served
@pytest.mark.parametrize(("end", "reason"), [(signal.SIGKILL, "refused"), (signal.SIGSTOP, "timed out")])
def test_a_server_that_falls_silent_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals, reason: str
) -> None:
    monkeypatch.setattr(vector_store, "_PATIENCE", 2.0)
    one = np.ones((1, 3), dtype=np.float32)
    with chroma(tmp_path / "data") as (url, process), VectorStore(Path("nowhere"), url, "skills-gone") as store:
        store.write(one)
        process.send_signal(end)
        if end == signal.SIGKILL:
            process.wait()
        for ask in (store.count, lambda: store.nearest(one[0], 1), lambda: store.write(one)):
            with pytest.raises(PoolError, match=f"cannot use the Chroma server at {url}: .*{reason}"):
                ask()


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(PoolError, match=rf"^cannot use the Chroma server at {url}: .*refused; .* pool\.chroma_url$"):
        VectorStore(Path("nowhere"), url, "skills")


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "_GREETING", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PoolError, match=f"{url}: timed out"):
            VectorStore(Path("nowhere"), url, "skills")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://example.org/chroma/", "https://example.org/chroma"),
        ("https://example.org/a/b/api/v2", "https://example.org/a/b"),
        ("http://http-server", "http://http-server"),
    ],
)
def test_an_address_may_have_the_path_of_a_proxy(url: str, address: str) -> None:
    assert server_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "ftp://127.0.0.1:8000",
        "http://[::1:8000",
        "http://me@127.0.0.1:8000",
        "http://me:secret@127.0.0.1:8000",
        "http://127.0.0.1:8000/chroma?token=secret",
        "http://127.0.0.1:8000#secret",
    ],
)
def test_what_is_no_address_is_refused_in_a_sentence_that_tells_no_secret(url: str) -> None:
    with pytest.raises(PoolError, match="is no address") as caught:
        VectorStore(Path("nowhere"), url, "skills")
    assert "secret" not in str(caught.value)
