"""Writing files: completely or not at all."""

import pytest

from hepgan.files import write_text


def test_write_text_is_all_or_nothing(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_text(path, "first µ")
    assert path.read_text(encoding="utf-8") == "first µ"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "broken \ud800")
    assert path.read_text(encoding="utf-8") == "first µ"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]
