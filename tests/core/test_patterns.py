from hypothesis import example, given, strategies as st
import pytest

from batchrunner.core import patterns
from batchrunner.core.patterns import BadPattern, compiled


def fits(pattern: str, path: str) -> bool:
    return any(each.matches(path) for each in compiled(pattern))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.mp4", "a.mp4", True),
        ("*.mp4", "clips/a.mp4", False),
        ("clips/*.mp4", "clips/a.mp4", True),
        ("clips/*.mp4", "clips/A.MP4", True),
        ("clips/*.MP4", "clips/a.mp4", True),
        ("clips/A*.mp4", "clips/a.mp4", False),
        ("Clips/*.mp4", "clips/a.mp4", False),
        ("clips/*.mp4", "clips/a.mp4.part", False),
        ("clips/*.mp4", "clipsx/a.mp4", False),
        ("./clips//*.mp4", "clips/a.mp4", True),
        ("clips/**/*.mp4", "clips/a.mp4", True),
        ("clips/**/*.mp4", "clips/a/b/c.mp4", True),
        ("clips/**", "clips/a/b/c.mp4", True),
        ("**/day/**/*.mp4", "x/day/y/a.mp4", True),
        ("**/day/**/*.mp4", "day/a.mp4", True),
        ("**/day/**/*.mp4", "x/a.mp4", False),
        ("**/a/**/a/*.mp4", "a/a.mp4", False),
        ("**/a/**/a/*.mp4", "a/a/x.mp4", True),
        ("**/*.mp4", ".cache/a.mp4", False),
        ("**/.cache/*.mp4", "x/.cache/a.mp4", True),
        ("*", ".a.mp4", False),
        (".*", ".a.mp4", True),
        ("?.mp4", "é.mp4", True),
        ("?.mp4", "e\u0301.mp4", True),
        ("é/*.mp4", "e\u0301/a.mp4", True),
        ("e\u0301/*.mp4", "é/a.mp4", True),
        ("[ab]*.mp4", "b1.mp4", True),
        ("[!ab]*.mp4", "b1.mp4", False),
        ("[0-9][0-9].mp4", "07.mp4", True),
        ("[[]x].mp4", "[x].mp4", True),
        ("[]x].mp4", "].mp4", True),
        ("[*].mp4", "*.mp4", True),
        ("[*].mp4", "a.mp4", False),
        ("[{]a[}].mp4", "{a}.mp4", True),
        ("[a&&+--].mp4", "&.mp4", True),
        ("*.{mp4,mov}", "a.MOV", True),
        ("{day,night}/*.{mp4,mov}", "night/a.mp4", True),
        ("{a,b{c,d}}.mp4", "bd.mp4", True),
        ("*.{mp4,mov}", "a.webm", False),
        ("../clips/*.mp4", "../clips/a.mp4", True),
        ("/mnt/*.mp4", "/mnt/a.mp4", True),
        ("/*.mp4", "/a.mp4", True),
        ("/mnt/*.mp4", "mnt/a.mp4", False),
        ("*.mp4", "/a.mp4", False),
        ("*.mp4", "line\nbreak.mp4", True),
        ("a+(b)|^$.mp4", "a+(b)|^$.mp4", True),
    ],
)
def test_what_a_pattern_fits(pattern: str, path: str, *, expected: bool) -> None:
    assert fits(pattern, path) is expected


def test_many_stars_take_no_time() -> None:
    assert not fits("*a" * 40 + "b.mp4", "a" * 200 + ".mp4")
    assert not fits("**/x/" * 30 + "b.mp4", "x/" * 200 + "a.mp4")


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("clips/*.mp4", "clips", True),
        ("clips/*.mp4", "clips/day", False),
        ("clips/*/raw/*.mp4", "clips/day", True),
        ("clips/*/raw/*.mp4", "clips/day/raw", True),
        ("clips/*/raw/*.mp4", "clips/day/fine", False),
        ("**/*.mp4", "a/b/c", True),
        ("**/*.mp4", "a/.git", False),
        ("*/.x/*.mp4", "a/.x", True),
    ],
)
def test_which_folders_are_worth_a_look(pattern: str, folder: str, *, expected: bool) -> None:
    assert any(each.reaches(folder) for each in compiled(pattern)) is expected


def test_the_folder_before_the_first_wildcard_is_the_base() -> None:
    assert [each.base for each in compiled("a/b/*/c/*.mp4")] == ["a/b"]
    assert [each.base for each in compiled("a/x.mp4")] == ["a"]
    assert [each.base for each in compiled("{a,b}/*.mp4")] == ["a", "b"]
    assert [each.base for each in compiled("/*.mp4")] == ["/"]
    assert [each.base for each in compiled("../up/*")] == ["../up"]


def test_too_many_alternatives_are_refused() -> None:
    with pytest.raises(BadPattern):
        compiled("{a,b}" * 20)
    with pytest.raises(BadPattern):
        compiled("a" * 2000)


NAMES = st.text(alphabet="ab.é[]{}*?!-~^&|()+ \n", min_size=1, max_size=6).filter(lambda name: name not in {".", ".."})


@given(st.lists(NAMES, min_size=1, max_size=3).map("/".join))
@example("~")
@example("a]b")
def test_a_path_fits_the_pattern_that_is_written_for_it(path: str) -> None:
    assert fits(patterns.escaped(path), path)


@given(st.text(alphabet="ab*?[]!-{},./~", max_size=12), st.text(alphabet="ab./", max_size=8))
def test_any_text_is_a_pattern_or_is_refused(pattern: str, path: str) -> None:
    try:
        found = compiled(pattern)
    except BadPattern:
        return
    for each in found:
        assert each.matches(path) in {True, False}
        assert each.reaches(path) in {True, False}
        assert not each.base.endswith("/") or each.base == "/"
