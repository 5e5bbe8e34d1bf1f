import json
from typing import Any

from hypothesis import given, strategies as st
import pytest
import yaml

from batchrunner.core import scalars, yamlevents, yamltext
from batchrunner.core.problem import Problem


def compose(text: str) -> tuple[yamltext.Node | None, list[Problem]]:
    problems: list[Problem] = []
    node = yamltext.document(text, source="m.yaml", report=problems.append)
    return node, problems


def outline(text: str) -> tuple[yamltext.Node | None, list[Any], list[Problem]]:
    problems: list[Problem] = []
    root, items = yamltext.outline(text, source="m.yaml", stream="jobs", report=problems.append)
    return root, [yamltext.plain(item) for item in items], problems


def value(text: str) -> Any:
    node, problems = compose(text)
    assert problems == []
    assert node is not None
    return yamltext.plain(node)


def only_problem(text: str) -> tuple[str, int, int]:
    _, problems = compose(text)
    assert len(problems) == 1
    return problems[0].code, problems[0].place.line, problems[0].place.column


@pytest.fixture(params=["C", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers: the one in C, and the one that stands in where libyaml is missing."""
    monkeypatch.setattr(yamlevents, "_LOADER", yaml.CSafeLoader if request.param == "C" else yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("nul", "nul"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("-1.5E-1", -0.15),
        (".5", 0.5),
        ("5.", 5.0),
        (".", "."),
        ("-", "-"),
        ("+", "+"),
        ("1.2.3", "1.2.3"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("9" * 64, int("9" * 64)),
        ("9" * 5000, "9" * 5000),
        ("=", "="),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, expected: Any) -> None:
    assert scalars.core_value(text) == expected
    assert type(scalars.core_value(text)) is type(expected)


def test_what_stands_in_quotes_is_text() -> None:
    assert value("['5', \"true\", '~', '']") == ["5", "true", "~", ""]


def test_tags_of_the_core_schema_are_honoured() -> None:
    assert value("[!!str 5, !!int '5', !!float '5', !!bool 'true', !!null '', ! 5]") == ["5", 5, 5, True, None, "5"]


@pytest.mark.parametrize(
    "text", ["!!int true", "!!int x", "!!bool 1", "!!set {a}", "!!python/name:os.system x", "!!seq x"]
)
def test_other_tags_are_refused_where_they_stand(text: str) -> None:
    assert only_problem(f"a: {text}") == ("yaml-tag", 1, 4)


@pytest.mark.usefixtures("parser")
def test_every_key_and_value_knows_its_place() -> None:
    node, _ = compose("a: 1\nb:\n  - c: x\n  - [é, z]\n")
    assert isinstance(node, yamltext.MapNode)
    key = node.entries["b"]
    assert (key.line, key.column) == (2, 1)
    assert str(yamltext.place_of(yamltext.locate(node, ("b", 0, "c")))) == "m.yaml:3:5"
    assert str(yamltext.place_of(yamltext.locate(node, ("b", 1, 1)))) == "m.yaml:4:9"
    assert str(yamltext.place_of(yamltext.locate(node, ("b", 1, 7, "x")))) == "m.yaml:4:5"


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", ("duplicate-key", 2, 1)),
        ("a: {b: 1, 'b': 2}", ("duplicate-key", 1, 11)),
        ("a: [1", ("yaml-syntax", 1, 4)),
        ("a: 'x", ("yaml-syntax", 1, 4)),
        ("a: @x", ("yaml-syntax", 1, 4)),
        ("a:\n\t- b", ("yaml-syntax", 2, 1)),
        ("a: *b", ("yaml-alias", 1, 4)),
        ("a: &b {c: *b}", ("yaml-alias", 1, 11)),
        ("a\n---\nb", ("several-documents", 2, 1)),
        ("a: b\n\x07", ("not-text", 2, 1)),
        ("é: \udcff", ("not-text", 1, 4)),
        ("", ("empty", 1, 1)),
        ("# only a comment\n", ("empty", 1, 1)),
        ("<<: 1", ("yaml-merge", 1, 5)),
        ("? [a]\n: b", ("yaml-key", 1, 3)),
        ("[" * 40, ("too-deep", 1, 34)),
        ('a: "\\q"', ("yaml-syntax", 1, 5)),
    ],
)
def test_problems_have_a_code_and_a_place(text: str, expected: Any) -> None:
    code, line, column = only_problem(text)
    # The parsers disagree by a column or a line about where a broken text stops making sense.
    assert (code, line) == expected[:2] or code == "yaml-syntax"
    if yamlevents._LOADER is yaml.CSafeLoader:
        assert abs(column - expected[2]) <= 1


def test_an_escape_that_is_no_character_is_a_problem_for_the_parser_in_python_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yamlevents, "_LOADER", yaml.SafeLoader)
    assert only_problem('a: "\\UFFFFFFFF"') == ("yaml-syntax", 1, 1)


def test_merge_keys_give_way_to_the_own_keys_and_to_earlier_ones() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}"
    assert value(text)["c"] == {"x": 3, "y": 1, "z": 2}
    assert value("a: {'<<': 1}") == {"a": {"<<": 1}}


def test_a_word_with_an_anchor_can_be_a_key_again() -> None:
    assert value("&a x: 1\ny: {*a : 2}") == {"x": 1, "y": {"x": 2}}


def test_an_alias_bomb_is_a_problem_and_not_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(30)]
    assert only_problem("\n".join(lines))[0] == "yaml-alias"


def test_many_small_aliases_are_no_bomb_until_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &a [1, 2, 3]\nb: [*a, *a, *a]"
    assert value(text)["b"] == [[1, 2, 3]] * 3
    monkeypatch.setattr(yamltext, "MAX_ALIAS_VALUES_IN_ALL", 11)
    assert only_problem(text) == ("yaml-alias", 2, 13)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text",
    [
        "a: 1\njobs:\n  - x: 1\n  - x: 2\n",
        "a: 1\njobs:\n- x: 1\n- x: 2\n# the end\n",
        "jobs:\n  - x: 1\n  - x: 2\na: 1\n",
        "jobs: [{x: 1}, {x: 2}]\n'a': 1\n",
        "{jobs: [{x: 1}, {x: 2}], a: 1}",
        "{a: 1, jobs: [{x: 1}, {x: 2}]}",
        "  a: 1\n  jobs: [{x: 1}, {x: 2}]\n",
        "jobs: [{x: &x 1}, {x: 2}]\na: *x\n",
        "b: &b x\njobs: [{*b : 1}, {x: 2}]\r\na: 1\n",
        "&k c: 1\njobs: [{x: 1}, {x: 2}]\na: 1\n*k : 2\n",
    ],
)
def test_the_streamed_list_comes_out_one_by_one_wherever_it_stands(text: str) -> None:
    root, items, problems = outline(text)
    assert isinstance(root, yamltext.MapNode)
    assert items == [{"x": 1}, {"x": 2}]
    assert yamltext.plain(root)["a"] == 1
    assert isinstance(root.entries["jobs"].node, yamltext.StreamedNode)
    assert [problem.code for problem in problems] in ([], ["duplicate-key"])


def test_a_list_with_an_anchor_is_composed_whole() -> None:
    root, items, problems = outline("jobs: &jobs [1, 2]\nb: *jobs")
    assert root is not None
    assert yamltext.plain(root) == {"jobs": [1, 2], "b": [1, 2]}
    assert (items, problems) == ([], [])


def test_problems_in_and_after_the_streamed_list_are_told_once() -> None:
    _, items, problems = outline("a: 1\na: 2\njobs:\n  - {x: 1, x: 2}\n  - &y {z: 1, z: 1}\nb: 1\nb: 2\n")
    assert items == [{"x": 1}, {"z": 1}]
    assert sorted((problem.code, problem.place.line) for problem in problems) == [
        ("duplicate-key", 2),
        ("duplicate-key", 4),
        ("duplicate-key", 5),
        ("duplicate-key", 7),
    ]


def test_a_broken_end_of_the_streamed_list_is_a_problem() -> None:
    _, items, problems = outline("jobs:\n  - 1\n  - [2\n")
    assert items == [1]
    assert [problem.code for problem in problems] == ["yaml-syntax"]


def test_a_second_document_after_the_streamed_list_is_a_problem() -> None:
    _, items, problems = outline("jobs:\n  - 1\n---\njobs: []\n")
    assert items == [1]
    assert [problem.code for problem in problems] == ["several-documents"]


def test_quoted_keeps_a_message_on_one_line_and_a_terminal_safe() -> None:
    assert yamltext.quoted("a\x1b[31m\nb\u202ec") == '"a\\x1b[31m\\nb\\u202ec"'
    assert yamltext.quoted("x" * 100, limit=10) == '"xxxxxxxxx…"'


any_scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
documents = st.recursive(
    any_scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(documents)
def test_json_is_read_as_what_it_is(written: Any) -> None:
    # JSON without its escapes for characters beyond the first plane, which YAML writes otherwise.
    text = json.dumps({"value": written}, ensure_ascii=True)
    if "\\ud" in text:
        return
    assert value(text) == {"value": written}


@given(st.text())
def test_any_text_is_read_or_explained(text: str) -> None:
    node, problems = compose(text)
    assert node is not None or problems
