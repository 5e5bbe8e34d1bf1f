"""Where the person's files are, and the catalogue made of them."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import threading

import pytest

from batchrunner import places, storage
from batchrunner.core.catalog import Catalog
from batchrunner.core.expand import FileState
from batchrunner.errors import ManifestError, UsageError

RATES = ("models", "kling-3.0", "rates", "credits_per_second")


def patch(**rates: int) -> str:
    written = ", ".join(f"{resolution.removeprefix('r')}: {rate}" for resolution, rate in rates.items())
    return f"version: 1\nmodels: {{kling-3.0: {{rates: {{credits_per_second: {{{written}}}}}}}}}\n"


def rates_of(catalog: Catalog) -> dict[str, int | None]:
    return dict(catalog.models["kling-3.0"].rates)


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"HOME": "/h"}, "linux", "/h/.config/batchrunner/catalog.yaml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "linux", "/c/batchrunner/catalog.yaml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}, "linux", "/h/.config/batchrunner/catalog.yaml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": ""}, "darwin", "/h/.config/batchrunner/catalog.yaml"),
        ({"HOME": "/h", "APPDATA": "/roaming"}, "win32", "/roaming/batchrunner/catalog.yaml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "win32", "/h/AppData/Roaming/batchrunner/catalog.yaml"),
    ],
)
def test_the_persons_own_catalogue_is_in_their_configuration(
    environ: dict[str, str], platform: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert places.user_catalog_path(environ).as_posix() == expected


def test_without_files_it_is_the_packages(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    found = places.load_catalog(None, None, environ)
    assert rates_of(found) == {"720p": 48, "1080p": 72, "4k": 240}
    assert places.load_catalog(tmp_path / "m.yaml", "version: 1\njobs: []", environ) is found


def test_the_manifests_catalogue_holds_over_the_persons_and_that_over_the_packages(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    own = places.user_catalog_path(environ)
    own.parent.mkdir(parents=True)
    own.write_text(patch(r720p=50, r1080p=51), encoding="utf-8")
    named = tmp_path / "batch" / "prices.yaml"
    named.parent.mkdir()
    named.write_text(patch(r720p=60), encoding="utf-8")
    found = places.load_catalog(named.parent / "m.yaml", "version: 1\ncatalog: prices.yaml\njobs: []\n", environ)
    assert rates_of(found) == {"720p": 60, "1080p": 51, "4k": 240}
    sources = [found.source_of(*RATES, resolution) for resolution in ("720p", "1080p", "4k")]
    assert sources == [str(named), str(own), "models"]


def test_a_catalogue_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(UsageError, match=r"cannot read the catalogue .*none\.yaml"):
        places.load_catalog(tmp_path / "m.yaml", "catalog: none.yaml", environ)
    (tmp_path / "bytes.yaml").write_bytes(b"version: \xff")
    with pytest.raises(UsageError, match=r"bytes\.yaml:1:10: this is not UTF-8 text"):
        places.load_catalog(tmp_path / "m.yaml", "catalog: bytes.yaml", environ)


@pytest.mark.skipif(sys.platform == "win32", reason="links need permissions there")
def test_a_file_that_cannot_be_reached_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    found = storage.at(tmp_path, "round.mp4").fact()
    assert (found.kind, found.why) == (FileState.UNREADABLE, "Too many levels of symbolic links")
    for name in ("none.mp4", "round.mp4x/a.mp4", f"{'x' * 300}.mp4", "a\0b.mp4"):
        assert storage.at(tmp_path, name).fact().kind is FileState.MISSING


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is unreadable for this user")
def test_a_file_in_a_folder_that_cannot_be_entered_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    found = storage.at(tmp_path, "locked/a.mp4").fact()
    (tmp_path / "locked").chmod(0o755)
    assert (found.kind, found.why) == (FileState.UNREADABLE, "Permission denied")


def test_a_catalogue_that_is_wrong_is_told_with_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("version: 1\nmodles: {}\n", encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        places.load_catalog(tmp_path / "m.yaml", "catalog: ours.yaml", {"XDG_CONFIG_HOME": str(tmp_path)})
    assert str(caught.value).endswith('ours.yaml:2:1: there is no key "modles" here (did you mean models?)')


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "catalogue.md").read_text(encoding="utf-8")
    file = tmp_path / "ours.yaml"
    file.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    found = places.with_file(places.load_catalog(None, None, {"XDG_CONFIG_HOME": str(tmp_path)}), file)
    assert found.models["kling-next"].rates == {"720p": 96, "1080p": None}
    assert "Fresco" in found.art_styles


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("version: 1\ninclude: pipe\n", "the included file pipe: it is no regular file"),
        ("version: 1\ncatalog: pipe\njobs: []\n", "the catalogue pipe: it is no regular file"),
        (
            "version: 1\njobs: [{id: a, kind: video-to-video, input: pipe.mp4, end_seconds: 1}]\n",
            '"pipe.mp4" is no regular file',
        ),
    ],
)
def test_what_would_be_waited_for_without_an_end_is_refused(manifest: str, said: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "m.yaml").write_text(manifest)
    ended = subprocess.run(
        [sys.executable, "-m", "batchrunner", "validate", "m.yaml"],
        cwd=tmp_path,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_the_manifest_itself_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "m.yaml"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("version: 1",), daemon=True)
    writer.start()
    assert places.text_of(pipe) == "version: 1"
    writer.join(10)
