"""docs/families.md says of each family what the code and the small models say."""

from pathlib import Path

from tests.small_models import SMALL
from tests.small_models.fixtures import Made
from training.families.families import FAMILIES, family_of, load_config

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_page_has_a_true_row_for_the_family(family: str, made: Made) -> None:
    known = family_of(load_config(str(made(family))))
    row, *figures = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {known.name} |")]
    _, _, kind, architecture, language, features, served, _ = (cell.strip() for cell in row.split("|"))
    assert kind.startswith(f"`{known.model_type}`")
    assert architecture == f"`{SMALL[family].architecture}`"
    assert language == f"`{known.language}`"
    assert features == ("kept" if known.plain else "")
    assert served == ("not served" if known.unserved else "adapter")
    assert len(figures) == (not known.unserved)


def test_every_family_has_a_small_model(made: Made) -> None:
    assert {family_of(load_config(str(made(name)))) for name in SMALL} == set(FAMILIES)
