"""What befell files is told by kind."""

from semblance.data.tally import Tally
from semblance.shown import shown


def test_a_kind_is_a_line_with_its_count_and_some_names():
    tally = Tally()
    tally.add("Left out, .heic", "a.heic", "b.heic", "c.heic", "d.heic")
    tally.add("Only the first page is used", "e\x1b.tif")
    tally.add("Nothing")
    assert list(tally.lines()) == [
        "Left out, .heic: 4 files, as a.heic, b.heic, c.heic.",
        "Only the first page is used: 1 file, as e\\x1b.tif.",
    ]


def test_names_are_shown_as_one_line_of_text():
    assert shown("Übung 日本　[b].png") == "Übung 日本　[b].png"
    assert shown("a\x1b[31m\n\u202e\udcff") == "a\\x1b[31m\\n\\u202e\\xff"
    shown("\ud800").encode()
