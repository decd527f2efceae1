import pytest

from retrieval.errors import first_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\nno such file.\nand more"), "no such file"),
        (OSError("a line\r\nanother"), "a line"),
        (MemoryError(), "MemoryError"),
        (RuntimeError(" \n "), "RuntimeError"),
    ],
)
def test_an_error_is_quoted_by_its_first_line_or_its_type(error: Exception, said: str) -> None:
    assert first_line(error) == said
