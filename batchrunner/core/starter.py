"""The first manifest for a folder: what was found there -> a commented text that can be planned as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import json
import math

from batchrunner.core import naming, outputs, patterns, pricing, yamltext
from batchrunner.core.catalog import Catalog, Model
from batchrunner.core.checks import main_asset
from batchrunner.core.facts import Facts
from batchrunner.core.folder import Folder, Found
from batchrunner.core.footage import SHORTEST_S
from batchrunner.core.kind import Kind
from batchrunner.core.problem import Place

SCHEMA = "manifest.schema.json"
STYLE = "Ink"
PROMPT = "slow push in, steady camera"
SECONDS = 5
RESOLUTION = "720p"
ID_TEMPLATES = ("{stem}", "{relpath}", "{relpath}.{ext}")

_NOUNS = {Kind.VIDEO_TO_VIDEO: "clip", Kind.IMAGE_TO_VIDEO: "still"}
_NOWHERE = Place(source="", line=1, column=1)
_COMMENT_COLUMN = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """The files of one kind.

    Attributes:
        files: those that can be used.
        excluded: those that cannot, and why.
        facts: what is in those that were looked into.
        closed: folders that cannot be read, and why.
    """

    kind: Kind
    files: tuple[Found, ...]
    excluded: Mapping[str, str]
    facts: Mapping[str, Facts]
    closed: Mapping[str, str] = field(default_factory=dict)


def renders_of(where: str) -> str:
    """Return the folder for results: never the one that the inputs lie in."""
    return "rendered" if where == "renders" or where.startswith("renders/") else "renders"


def folder_of(kind: Kind, where: str, catalog: Catalog, *, is_tree: bool = True) -> Folder:
    """Return what is asked of a folder: all files of a kind in it, and below it if it `is_tree`."""
    field, media = main_asset(kind)
    extensions = catalog.image_extensions if media == "image" else catalog.video_extensions
    return Folder(
        globs=(_glob(where, extensions, is_tree=is_tree),),
        exclude=(f"{renders_of(where)}/**",) if not where else (),
        field=field,
        media=media,
        extensions=extensions,
        place=_NOWHERE,
        path="",
    )


def _glob(where: str, extensions: Sequence[str], *, is_tree: bool) -> str:
    below = f"{'**/' if is_tree else ''}*.{{{','.join(extensions)}}}"
    return f"{patterns.escaped(where)}/{below}" if where else below


def is_tree(files: Sequence[Found], where: str) -> bool:
    """Tell whether some of the files lie in folders below."""
    beginning = f"{where}/" if where else ""
    return any("/" in each.path.removeprefix(beginning) for each in files)


def id_template(sorts: Sequence[Sort], where: str, catalog: Catalog) -> tuple[str, dict[str, str]]:
    """Return the shortest template under which all files have ids of their own, and the files for which there is none.

    A folder with folders in it gets one with the path, since files of the same name will come.
    """
    has_tree = any(is_tree(sort.files, where) for sort in sorts)
    twins: dict[str, str] = {}
    for template in ID_TEMPLATES[has_tree:]:
        owners: dict[str, str] = {}
        twins = {}
        for sort in sorts:
            depth = folder_of(sort.kind, where, catalog).depth
            for file in sort.files:
                values = naming.values_of_file(file, depth=depth, kind=sort.kind, index=1, model=None)
                first = owners.setdefault(outputs.collision_key(naming.id_of_file(template, values)), file.path)
                if first != file.path:
                    twins[file.path] = f"its name differs from {yamltext.quoted(first)} by the form of letters only"
                    # A pattern fits both forms of a letter: excluding the one leaves out the other, too, so it is told.
                    if patterns.composed(first) == patterns.composed(file.path):
                        twins[first] = twins[file.path] = "two files have this name; rename one of them"
        if not twins:
            return template, {}
    return ID_TEMPLATES[-1], twins


def flaw_of(found: Found, facts: Facts, catalog: Catalog) -> str | None:
    """Return why a file that can be read cannot be rendered; None where it can."""
    if facts.seconds is not None and facts.seconds < SHORTEST_S:
        return f"it is only {facts.seconds:.3f} seconds long"
    if found.size > max(catalog.max_upload_bytes_by_tier.values()):
        return "it is larger than any plan takes"
    return None


# --- money -----------------------------------------------------------------------------------------------------------


def model_for(catalog: Catalog) -> Model | None:
    """Return the model for stills: the provider's own choice where it has a price, else the cheapest that has one."""
    priced = [
        model
        for model in catalog.models.values()
        if model.status == "current"
        and model.takes_seconds(SECONDS)
        and RESOLUTION in model.resolutions
        and not model.aspect_ratios
        and model.credits_per_second(resolution=RESOLUTION, audio=False) is not None
    ]
    chosen = list(catalog.default_model_by_tier.values())
    return min(
        priced,
        key=lambda model: (
            -chosen.count(model.name),
            model.credits_per_second(resolution=RESOLUTION, audio=False),
            model.name,
        ),
        default=None,
    )


def style_of(catalog: Catalog) -> dict[str, str]:
    """Return the look for clips."""
    name = STYLE if STYLE in catalog.art_styles else catalog.art_styles[0]
    version = catalog.forced_versions.get(name) or ("v2" if "v2" in catalog.style_versions else "default")
    return {"art_style": name, "version": version}


def hold_of(sort: Sort, catalog: Catalog, model: Model | None) -> int:
    """Return the most that rendering all files of a kind can cost; those not looked into count like the others."""
    holds = []
    for facts in sort.facts.values():
        request: dict[str, object] = {"start_seconds": 0, "end_seconds": facts.seconds, "fps_resolution": "HALF"}
        if sort.kind is Kind.IMAGE_TO_VIDEO:
            request = {"end_seconds": SECONDS, "model": model.name if model else "", "resolution": RESOLUTION}
        price = pricing.estimate(sort.kind, request, catalog, tier=None, fps=facts.fps)
        holds.append(price.hold if price is not None else 0)
    return math.ceil(sum(holds) * len(sort.files) / len(holds)) if holds else 0


def budget_for(hold: int) -> int:
    """Return a cap a tenth above what may be held, rounded up to a figure that is easy to read."""
    most = hold + math.ceil(hold / 10)
    step: int = 10 ** max(1, len(str(most)) - 2)
    return math.ceil(most / step) * step


# --- text ------------------------------------------------------------------------------------------------------------


def text_of(sorts: Sequence[Sort], *, where: str, template: str, catalog: Catalog) -> str:
    """Return the manifest."""
    model = model_for(catalog)
    hold = sum(hold_of(sort, catalog, model) for sort in sorts)
    is_sampled = any(len(sort.facts) < len(sort.files) for sort in sorts)
    figure = f"{'about ' if is_sampled else ''}{hold:,} credits at the most, and a tenth more"
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        f"# The line above is for editors; `batchrunner schema -o {SCHEMA}` writes what it names.",
        "#",
        f"# {_inventory(sorts, where)}. Every line can be changed; CHANGE marks what you will want to.",
        "version: 1",
        _with_comment(f"output: {renders_of(where)}/{{id}}.mp4", "{id} is each job's own id; a / in it makes a folder"),
        "limits:",
        _with_comment("  in_flight: 10", "renders that the provider works on at the same time"),
        "budget:",
        _with_comment(f"  credits: {budget_for(hold)}", f"CHANGE: the cap over all runs; {figure}"),
        "",
        "jobs:",
    ]
    for at, sort in enumerate(sorts):
        lines += [""] if at else []
        lines += _entry(sort, where=where, template=template, catalog=catalog, model=model)
    return "\n".join(lines) + "\n"


def _inventory(sorts: Sequence[Sort], where: str) -> str:
    counts = " and ".join(f"{len(sort.files):,} {_NOUNS[sort.kind]}{'s' * (len(sort.files) != 1)}" for sort in sorts)
    return f"{counts} of {yamltext.quoted(where) if where else 'this folder'}"


def _entry(sort: Sort, *, where: str, template: str, catalog: Catalog, model: Model | None) -> Iterator[str]:
    noun = _NOUNS[sort.kind]
    folder = folder_of(sort.kind, where, catalog, is_tree=is_tree(sort.files, where))
    yield f"  # One job for each {noun}. A new {noun} in the folder is a new job at the next run."
    yield _with_comment(f"  - id: {_quoted(template)}", "by this a job is known: another id is another job, paid anew")
    yield f"    kind: {sort.kind}"
    yield "    input:"
    yield f"      glob: {_quoted(folder.globs[0])}"
    excluded = {**dict.fromkeys(folder.exclude, "what was rendered"), **_excluded(sort, where)}
    if excluded:
        yield "      exclude:"
    for text, why in excluded.items():
        yield _with_comment(f"        - {_quoted(text)}", why)
    yield _with_comment("      # newer_than: 7d", "only files of the last seven days, or since a date: 2026-11-01")
    yield _with_comment("      # sort: -mtime", "the newest first; with limit: 10, only the first ten")
    yield from _look(sort.kind, catalog, model)


def _excluded(sort: Sort, where: str) -> dict[str, str]:
    closed = sorted(sort.closed.items()) if is_tree(sort.files, where) else ()
    return {patterns.all_of(each): why for each, why in closed} | {
        patterns.escaped(path): why for path, why in sorted(sort.excluded.items())
    }


def _look(kind: Kind, catalog: Catalog, model: Model | None) -> Iterator[str]:
    if kind is Kind.VIDEO_TO_VIDEO:
        style = style_of(catalog)
        yield _with_comment("    end_seconds: end", "the clip's own end, or a number")
        yield _with_comment("    fps_resolution: HALF", "half the frames, half the credits; or FULL")
        yield "    style:"
        yield _with_comment(f"      art_style: {_quoted(style['art_style'])}", f"CHANGE: {_others(catalog)}")
        yield f"      version: {style['version']}"
        return
    assert model is not None
    rate = model.credits_per_second(resolution=RESOLUTION, audio=False)
    yield _with_comment(f"    end_seconds: {SECONDS}", "how long each render is")
    yield _with_comment(f"    model: {model.name}", f"CHANGE: {rate} credits a second; `batchrunner models` shows all")
    yield f"    resolution: {RESOLUTION}"
    yield "    style:"
    yield _with_comment(f"      prompt: {_quoted(PROMPT)}", "CHANGE: what is to move, and how")


def _others(catalog: Catalog) -> str:
    others = [name for name in catalog.art_styles if name not in {STYLE, *catalog.forced_versions}]
    return f"one of {len(catalog.art_styles)} (`batchrunner models`), such as {', '.join(others[::20][:4])}"


def _quoted(text: str) -> str:
    """Return a text in double quotes, as YAML and JSON have in common; `$` stands for itself when it is doubled."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _with_comment(line: str, comment: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in comment)
    return f"{line:<{_COMMENT_COLUMN}}  # {shown}"
