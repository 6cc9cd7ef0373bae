from __future__ import annotations

from laptime.errors import LaptimeError, printable


def test_an_error_is_one_line_without_terminal_escapes() -> None:
    text = str(LaptimeError("no\nsuch \x1b[31mfile\x1b[0m\r\u202etxt"))

    assert text == "no such [31mfile [0m txt"


def test_plain_text_is_left_as_it_is() -> None:
    assert printable("lr is 0.1 · größer") == "lr is 0.1 · größer"
