import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from retrieval import Embedder, Gap, Pool, Shares, SkillIndex, gap_id, select_targeted
from retrieval.errors import PoolError
from retrieval.index import vector_store
from retrieval.index.vector_store import VectorStore
from tests.retrieval.conftest import llava_row

SKILLS = [
    "picking the smallest digit",
    "choosing the largest digit",
    "Adding the digits that were read.",
    "finding the neighbour to the left",
    "counting objects of one colour",
    "reading a handwritten digit",
]
COUNT = 36


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    rows = [llava_row(number, f"question {number % 12}", image=False) for number in range(COUNT)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    return Pool.build(tmp_path / "pool.json", None, tmp_path / "store")


@pytest.fixture
def skills(pool: Pool) -> dict[str, list[str]]:
    return {name: [SKILLS[number % len(SKILLS)]] for number, name in enumerate(pool.ids[:-1])}


Build = Callable[..., SkillIndex]


@pytest.fixture
def build(pool: Pool, embedder: Embedder, tmp_path: Path) -> Iterator[Build]:
    made = []

    def make(skills: dict[str, list[str]], folder: Path | None = None) -> SkillIndex:
        made.append(SkillIndex.build(folder or tmp_path / "index", pool, skills, embedder))
        return made[-1]

    yield make
    for index in made:
        index.close()


def test_a_skill_text_leads_to_its_samples_in_any_spelling(build: Build, skills: dict[str, list[str]]) -> None:
    skills["s001"] = ["Choosing  the LARGEST digit.", "reading a handwritten digit"]
    index = build(skills)
    assert len(index.texts) == len(SKILLS)
    assert index.samples("adding the digits that were read") == [f"s{number:03d}" for number in range(2, COUNT, 6)]
    assert index.samples("Reading a handwritten digit")[:2] == ["s001", "s005"]
    assert index.samples("something else") == []
    assert len(index.ids) == COUNT


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("select the minimum of the numerals", "picking the smallest digit"),
        ("summing numbers", "Adding the digits that were read"),
        ("recognising digits written by hand", "reading a handwritten digit"),
        ("what is directly left of an object", "finding the neighbour to the left"),
    ],
)
def test_other_words_for_a_skill_find_it(build: Build, skills: dict[str, list[str]], asked: str, expected: str) -> None:
    index = build(skills)
    for mode in ("fused", "dense"):
        assert expected in [hit.text for hit in index.search(asked, 2, mode)]


def test_bm25_finds_shared_words_and_nothing_without_any(build: Build, skills: dict[str, list[str]]) -> None:
    index = build(skills)
    assert index.search("neighbours", 3, "bm25")[0].text == "finding the neighbour to the left"
    assert len(index.search("neighbours", 3, "bm25")) == 1
    assert index.search("xylophone", 3, "bm25") == []
    assert index.search("", 3) == []
    assert len(index.search("digit", 50)) == len(SKILLS)


def test_proposals_fuse_all_names_and_are_distinct(build: Build, skills: dict[str, list[str]]) -> None:
    index = build(skills)
    hits = index.propose(["smallest digit", "sum of numbers", "smallest digit"], 4)
    assert len({hit.text for hit in hits}) == 4
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {"picking the smallest digit", "Adding the digits that were read"} <= {hit.text for hit in hits}
    assert hits == index.propose(["sum of numbers", "smallest  digit"], 4)


def test_a_ranking_does_not_depend_on_the_order_of_building(
    build: Build, skills: dict[str, list[str]], tmp_path: Path
) -> None:
    one = build(skills)
    other = build(dict(reversed(skills.items())), tmp_path / "other")
    assert one.key == other.key
    assert one.texts == other.texts
    for asked in ("digit", "left or right", "count"):
        assert one.search(asked, 6) == other.search(asked, 6)


def test_twins_are_proposed_but_only_what_the_teacher_confirms_is_selected(
    build: Build, skills: dict[str, list[str]]
) -> None:
    index = build(skills)
    gap = Gap(gap_id("least digit"), "least digit", ("least digit",), ("e1", "e2"))
    proposed = {hit.text for hit in index.propose(gap.names, 4)}
    assert {"picking the smallest digit", "choosing the largest digit"} <= proposed
    chosen = select_targeted(
        index,
        [gap],
        [],
        {"least digit": ["picking the smallest digit"]},
        questions={"e1": "question 6", "e2": "question 0"},
        budget=6,
        shares=Shares(1, 0, 0),
    ).samples
    assert {one.sample for one in chosen} == set(index.samples("picking the smallest digit"))
    asked = {one.sample: one.error for one in chosen[:2]}
    assert {name: index.questions([name])[0] for name in asked} == {
        name: {"e1": "question 6", "e2": "question 0"}[str(error)] for name, error in asked.items()
    }


def test_building_again_opens_what_is_there(build: Build, skills: dict[str, list[str]]) -> None:
    first = build(skills)
    made = (first.folder / "manifest.json").stat().st_mtime_ns
    assert build(skills).folder == first.folder
    assert (first.folder / "manifest.json").stat().st_mtime_ns == made


def test_other_skills_are_another_index_and_leave_a_running_one_alone(
    build: Build, skills: dict[str, list[str]], tmp_path: Path
) -> None:
    running = build(skills)
    other = build({**skills, "s000": ["naming a rare shape"]})
    assert other.samples("naming a rare shape") == ["s000"]
    assert other.search("rare shape", 1)[0].text == "naming a rare shape"
    assert running.folder.is_dir()
    assert "naming a rare shape" not in [hit.text for hit in running.search("rare shape", 50)]
    assert running.samples(SKILLS[0])[0] == "s000"
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_open_index_does_not_look_at_its_folder_again(
    build: Build, skills: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(skills)
    shutil.rmtree(index.folder)
    monkeypatch.delattr(VectorStore, "_read")
    assert index.search("the least of the numerals", 1)[0].text == "picking the smallest digit"
    assert len(index.samples(SKILLS[0])) == COUNT // len(SKILLS)


def test_another_chroma_gets_a_collection_of_its_own(
    build: Build, skills: dict[str, list[str]], pool: Pool, embedder: Embedder, tmp_path: Path, monkeypatch: Any
) -> None:
    real = vector_store._client
    servers: list[str | None] = []

    def client(folder: Path, url: str | None) -> Any:
        servers.append(url)
        return real(tmp_path / f"server-{urlsplit(url).port}" if url else folder, None)

    monkeypatch.setattr(vector_store, "_client", client)
    build(skills).close()
    for url in ("http://one:1", "http://one:2", None):
        servers.clear()
        with SkillIndex.build(tmp_path / "index", pool, skills, embedder, url) as index:
            assert len(index.search("digit", 50)) == len(SKILLS)
        assert set(servers) == {url}


def test_the_default_embedder_is_one_under_both_of_its_names(
    build: Build, skills: dict[str, list[str]], pool: Pool, tmp_path: Path
) -> None:
    key = build(skills).key
    other = Embedder("sentence-transformers/all-MiniLM-L6-v2")
    with SkillIndex.build(tmp_path / "index", pool, skills, other) as index:
        assert index.key == key


def test_opening_with_another_embedder_or_pool_is_refused_and_says_what_to_do(
    build: Build, skills: dict[str, list[str]], pool: Pool, tmp_path: Path
) -> None:
    build(skills).close()
    folder = build(skills).folder
    with pytest.raises(PoolError, match="built with the embedder 'all-MiniLM-L6-v2', not 'another'"):
        SkillIndex.open(folder, pool, Embedder("another"))
    (tmp_path / "pool2.json").write_text(json.dumps([llava_row(1, image=False)]))
    other = Pool.build(tmp_path / "pool2.json", None, tmp_path / "store")
    with pytest.raises(PoolError, match="another pool"):
        SkillIndex.open(folder, other, Embedder())


def test_another_embedder_gets_an_index_of_its_own(
    build: Build, skills: dict[str, list[str]], pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(skills)
    monkeypatch.setattr(Embedder, "encode", lambda self, texts, _: np.eye(8, dtype=np.float32)[: len(texts)])
    with SkillIndex.build(tmp_path / "index", pool, skills, Embedder("another")) as other:
        assert other.folder != first.folder
        assert first.folder.is_dir()


def test_an_index_that_is_none_or_not_whole_says_so(
    build: Build, skills: dict[str, list[str]], pool: Pool, embedder: Embedder, tmp_path: Path
) -> None:
    with pytest.raises(PoolError, match="no skill index"):
        SkillIndex.open(tmp_path / "index", pool, embedder)
    (index := build(skills)).close()
    manifest = json.loads((index.folder / "manifest.json").read_text())
    (index.folder / "manifest.json").write_text(json.dumps(manifest | {"texts": 99}))
    with pytest.raises(PoolError, match="99 skills"):
        SkillIndex.open(index.folder, pool, embedder)


def test_damaged_texts_are_built_again_and_said(
    build: Build, skills: dict[str, list[str]], pool: Pool, embedder: Embedder, tmp_path: Path
) -> None:
    (index := build(skills)).close()
    file = index.folder / "skills.arrow"
    file.write_bytes(file.read_bytes()[:40])
    said: list[str] = []
    with SkillIndex.build(tmp_path / "index", pool, skills, embedder, say=said.append) as again:
        assert again.texts == index.texts
    assert len(said) == 1
    assert "skills.arrow is damaged" in said[0]


REOPEN = """
import json, sys
from pathlib import Path
from retrieval import Embedder, Pool, SkillIndex
from retrieval.errors import GaptutorError
folder, pool, skills = Path(sys.argv[1]), Pool.open(Path(sys.argv[2])), json.loads(sys.argv[3])
try:
    SkillIndex.open(Path(sys.argv[4]), pool, Embedder())
except GaptutorError as error:
    print(error)
said = []
index = SkillIndex.build(folder, pool, skills, Embedder(), say=said.append)
print(len(said), index.search("addition of what was read", 1)[0].text)
"""


@pytest.mark.parametrize("keep", [0, 5000])
def test_chromas_damaged_file_is_one_sentence_and_the_index_is_built_again(
    build: Build, skills: dict[str, list[str]], pool: Pool, tmp_path: Path, keep: int
) -> None:
    """As another process finds it: within one, Chroma holds on to what it has open."""
    (index := build(skills)).close()
    (database,) = index.folder.glob("chroma-*/chroma.sqlite3")
    database.write_bytes(database.read_bytes()[:keep] + b"garbage " * 4000)
    arguments = [str(tmp_path / "index"), str(pool.folder), json.dumps(skills), str(index.folder)]
    done = subprocess.run([sys.executable, "-c", REOPEN, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, found = done.stdout.splitlines()
    assert said.startswith("Chroma's files cannot be read (")
    assert found == "1 Adding the digits that were read"


@pytest.mark.parametrize("given", [["0", "1", "1"], ["0", "1", "3"], ["0", "1"], ["0", "1", "x"]])
def test_rows_that_come_twice_or_not_at_all_are_an_error(tmp_path: Path, given: list[str]) -> None:
    with VectorStore(tmp_path, None, "skills") as store:
        store.write(np.eye(3, dtype=np.float32))
        page = {"ids": given, "embeddings": np.eye(len(given), 3, dtype=np.float32)}
        store.__dict__["_collection"] = SimpleNamespace(count=lambda: 3, get=lambda **_: page)
        with pytest.raises(PoolError, match="does not give each of its 3 rows once"):
            store.load()


def test_skills_of_unknown_samples_or_none_at_all_are_errors(build: Build, skills: dict[str, list[str]]) -> None:
    with pytest.raises(PoolError, match="no sample 'stranger'"):
        build({**skills, "stranger": ["x"]})
    with pytest.raises(PoolError, match="no sample of the pool has a skill"):
        build({"s000": [" . "]})


def test_past_the_exact_limit_the_graph_proposes_and_ranks_the_same_here(
    build: Build, skills: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = build(skills).search("reading numbers", 2, "dense")
    monkeypatch.setattr(vector_store, "EXACT", 3)
    found = build(skills).search("reading numbers", 2, "dense")
    assert [hit.text for hit in found] == [hit.text for hit in exact]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in exact], atol=1e-5)


_CHILD = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import numpy as np
    from retrieval import Embedder, Pool, SkillIndex
    from retrieval.index import skill_index, vector_store
    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    Embedder.encode = lambda self, texts, _: np.eye(384, dtype=np.float32)[: len(texts)]
    if sys.argv[4] == "embedding":
        Embedder.encode = stop
    elif sys.argv[4] == "chroma":
        vector_store.VectorStore.close = stop
    elif sys.argv[4] == "manifest":
        skill_index.write_json = stop
    elif sys.argv[4] == "publishing":
        os.replace = stop
    skills = json.loads(Path(sys.argv[3]).read_text())
    SkillIndex.build(Path(sys.argv[2]), Pool.open(Path(sys.argv[1])), skills, Embedder())
    """
)


@pytest.mark.parametrize("moment", ["embedding", "chroma", "manifest", "publishing"])
def test_a_killed_build_starts_over(
    build: Build, skills: dict[str, list[str]], pool: Pool, tmp_path: Path, moment: str
) -> None:
    (tmp_path / "skills.json").write_text(json.dumps(skills))
    command = [sys.executable, "-c", _CHILD, pool.folder, tmp_path / "index", tmp_path / "skills.json", moment]
    assert subprocess.run(list(map(str, command)), check=False).returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("index-*/manifest.json"))
    index = build(skills)
    assert len(index.search("digit", 50)) == len(SKILLS)
    assert not list(tmp_path.glob(".index-*.tmp"))


def test_where_jax_is_installed_it_keeps_off_the_gpu(tmp_path: Path) -> None:
    """bm25s starts it when imported; on a GPU it takes three quarters of the memory at once."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").touch()
    lax = "import os\ndef top_k(*_): print('started on', os.environ.get('JAX_PLATFORMS', 'anything'))\n"
    (tmp_path / "jax" / "lax.py").write_text(lax)
    where = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import training.lora.main"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, env=environment)
    assert done.stdout == "started on cpu\n", done.stderr
