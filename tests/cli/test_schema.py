"""`schema`: the manifest's format on standard output or in a file."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from jsonschema import Draft7Validator
import pytest

from batchrunner.cli.app import main
from batchrunner.cli.schema import schema
from batchrunner.errors import ManifestError, UsageError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(schema, list(arguments), standalone_mode=False, catch_exceptions=False)


def test_it_is_printed_or_written_the_same(tmp_path: Path) -> None:
    printed = run()
    assert printed.return_value == 0
    Draft7Validator.check_schema(json.loads(printed.stdout))
    file = tmp_path / "manifest.schema.json"
    written = run("-o", str(file))
    assert (written.stdout, file.read_text(encoding="utf-8")) == ("", printed.stdout)
    assert f"# yaml-language-server: $schema={file}" in written.stderr


def test_a_catalogue_and_unlisted_names_are_let_in(tmp_path: Path) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text("version: 1\nvideo_to_video: {art_styles: [Fresco]}\n")
    assert '"Fresco"' not in run().stdout
    assert '"Fresco"' in run("--catalog", str(ours)).stdout
    assert len(run("--allow-unlisted").stdout) < len(run().stdout), "no model is held against its limits"
    ours.write_text("version: 1\nvideo_to_video: {art_style: []}\n")
    with pytest.raises(ManifestError, match="art_style"):
        run("--catalog", str(ours))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        run("-o", str(tmp_path / "nowhere" / "schema.json"))


def test_a_dash_is_standard_output() -> None:
    assert run("-o", "-").stdout == run().stdout


@pytest.mark.parametrize(
    "words", [["init", ".", "-o", "-"], ["plan", "m.yaml", "-o", "-"], ["retry", "m.yaml", "--write", "-"]]
)
def test_where_only_a_file_will_do_a_dash_is_none(words: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "name a file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
