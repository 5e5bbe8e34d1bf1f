"""Nothing from outside can steer a terminal, forge a line, or carry a secret into a file."""

from __future__ import annotations

import json
import re
import string
import sys
import unicodedata

from hypothesis import given, settings, strategies as st
import pytest

from batchrunner.core import plain
from batchrunner.core.redact import HIDDEN, Redactor

HARMLESS = "Ünïcode, 日本語, עברית, 👩‍🚀"
ANY = st.text(alphabet=st.characters())  # halves of surrogate pairs, too: file names hold them
KEYS = st.text(alphabet="abcdefXYZ0123456789_-+/=%&?", min_size=8, max_size=40)
SIGNED = st.text(alphabet="abcdefXYZ0123456789-_%=&", min_size=1, max_size=60)


@settings(deadline=None)
@given(ANY)
def test_what_is_shown_holds_no_character_that_does_more_than_be_read(text):
    for char in plain.cell(text):
        assert unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}
        assert unicodedata.bidirectional(char) not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert plain.shown(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\r\nerror: b", r"a\r\nerror: b"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("name\udcff", r"name\udcff"),
        (HARMLESS, HARMLESS),
    ],
)
def test_the_worst_is_escaped_and_words_of_any_language_are_left(text, shown):
    assert plain.cell(text) == shown


@settings(deadline=None)
@given(st.dictionaries(ANY, ANY))
def test_a_line_of_json_is_one_line_and_means_what_was_put_in(value):
    line = plain.json_line(value)
    assert "\n" not in line
    assert plain.cell(line) == line
    line.encode()
    assert json.loads(line) == value


@settings(deadline=None)
@given(key=KEYS, before=ANY, after=ANY)
def test_a_key_is_nowhere_in_what_is_kept(key, before, after):
    kept = Redactor([key]).value({f"a{key}": [before + key + after], "nested": {"b": (key,)}})
    assert key not in plain.json_line(kept)


@settings(deadline=None)
@given(
    secret=st.one_of(KEYS, st.text(min_size=6, max_size=12), st.text(st.characters(), min_size=6, max_size=12)),
    before=ANY,
    after=ANY,
    more=st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(), ANY, st.sampled_from(["BEARER abc", "Kookie", "x=1", "://u@"])
        ),
        lambda each: st.one_of(st.lists(each), st.frozensets(ANY), st.dictionaries(ANY, each)),
    ),
    name=st.sampled_from(["path", "Pa\u017f\u017fword", "ToKen", "apikey", "status"]),
)
def test_a_line_is_what_is_left_of_its_value(secret, before, after, more, name):
    redactor = Redactor([secret])
    for value in ({"a": before + secret + after, "b": more}, {name: more}, {"a": {name: [before]}}, {"a": after}):
        assert redactor.json_line(value) == plain.json_line(redactor.value(value))


def test_a_secret_of_bytes_that_are_no_text_is_hidden_as_any_other():
    secret = b"key-\xff-abc".decode(errors="surrogateescape")
    assert Redactor([secret]).json_line({"a": f"of {secret}."}) == f'{{"a": "of {HIDDEN}."}}'


SAME_LETTERS = [each for each in map(chr, range(sys.maxunicode + 1)) if re.fullmatch("[a-z]", each, re.IGNORECASE)]


@pytest.mark.parametrize("letter", [each for each in SAME_LETTERS if not each.isascii()])
def test_a_name_with_another_form_of_a_letter_is_found_in_a_line_as_in_its_value(letter):
    plain_letter = next(each for each in string.ascii_lowercase if re.fullmatch(each, letter, re.IGNORECASE))
    names = [each.replace(plain_letter, letter) for each in ("authorization", "cookie", "signature", "password")]
    names = [each for each in names if letter in each]
    assert names
    for name in names:
        assert json.loads(Redactor().json_line({name: "plain"})) == {name: HIDDEN}


@settings(deadline=None)
@given(signature=SIGNED, before=ANY)
def test_a_presigned_address_is_cut_before_its_query(signature, before):
    secret = f"X-Amz-Signature={signature}"
    text = Redactor().text(f"{before} https://storage.example/a/b.mp4?{secret}")
    assert secret not in text
    assert text.endswith(f"https://storage.example/a/b.mp4?{HIDDEN}")


@settings(deadline=None)
@given(token=st.text(alphabet="abcdefXYZ0123456789._~+/-", min_size=4), before=ANY)
def test_a_bearer_and_a_webhook_secret_are_hidden_in_any_text(token, before):
    redactor = Redactor()
    assert redactor.text(f"{before} Authorization: Bearer {token}").endswith(f"Bearer {HIDDEN}")
    assert redactor.text(f"{before} whsec_abc{token.replace('.', '').replace('~', '')}").endswith(f" {HIDDEN}")


def test_a_field_that_is_named_as_a_secret_is_hidden_whole():
    kept = Redactor().value({"Authorization": "x y z", "api_key": {"deep": 1}, "credits": 7, "none": None, "ok": True})
    assert kept == {"Authorization": HIDDEN, "api_key": HIDDEN, "credits": 7, "none": None, "ok": True}


def test_what_is_no_secret_stays_as_it_is():
    value = {"path": "/v1/video-projects/abc", "text": "a bear, a key, 450 credits?", "list": [1, 2.5, False]}
    assert Redactor(["", "abc"]).value(value) == value
