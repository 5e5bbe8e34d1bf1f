"""The pictures of a batch, part of the composition: which are wanted of each job, and where a page finds them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import hashlib
from pathlib import Path
import posixpath
import re
from typing import Final, Literal

from batchrunner import pictures
from batchrunner.batch import Batch
from batchrunner.core import address as addresses, outputs
from batchrunner.core.facts import Media
from batchrunner.core.inputs import Source
from batchrunner.core.job import Job
from batchrunner.core.spec import Input
from batchrunner.pictures import Made, Missing, Wanted
from batchrunner.report.model import Gallery, Picture, Shown
from batchrunner.report.page import link_from

MOST_EMBEDDED: Final = 16_000_000
"""Bytes of posters in a page; a browser on a phone still opens it. Beyond that they are left out, with a note."""

COARSE_BYTES: Final = 3_500
"""Of a poster in a page where there is no room for finer ones: every job is to be seen before any is seen well."""

MOST_LOOPS: Final = 6_000_000
"""Bytes of loops in a page; they are the first that are left out."""

LOOPED: Final = 200
"""Jobs of which a page holds a loop: about as many as there is room for, so that none is made in vain."""

LEFT_OUT: Final = Missing(why="left out to keep this page small")

IN_A_BUCKET: Final = "it is in a bucket, from which no pictures are made"


ELSEWHERE: Final = Missing(why="it lies outside the folders of this batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the files of a batch lie. A state file may come from anywhere, and name any file of this machine.

    Attributes:
        root: the manifest's folder, which paths are relative to.
        results: folders of results, resolved; `inputs` those of clips and stills, as the manifest names them.
    """

    root: Path
    results: frozenset[Path]
    inputs: frozenset[Path]

    @classmethod
    def of(cls, batch: Batch) -> Folders:
        """Those of a batch: its own folder, and what its manifest leads to, through links, too."""
        manifest, root = batch.manifest, batch.root
        templates = {manifest.output, *(entry.output or "" for entry in manifest.jobs)}
        results = {"", *map(outputs.fixed_folder, _on_disk(templates))}
        given = [each.value for entry in manifest.jobs for each in entry.inputs if each.source is Source.LOCAL]
        globs = [glob for entry in manifest.jobs if entry.folder for glob in entry.folder.globs]
        starts = (_PATTERN.split(glob)[0] for glob in globs)
        inputs = {*map(posixpath.dirname, _on_disk((*given, *starts)))}
        real_results = frozenset(filter(None, (_resolved(root / each) for each in results)))
        real_inputs = frozenset(filter(None, (_resolved(root / each) for each in inputs)))
        return cls(root=root, results=real_results, inputs=real_results | real_inputs)

    def result(self, path: str) -> Path | None:
        """Where a result on record lies; None where none of this batch's does."""
        return self._within(path, self.results)

    def input(self, path: str) -> Path | None:
        """Where an input on record lies; None where none of this batch's does."""
        return self._within(path, self.inputs)

    def _within(self, path: str, folders: frozenset[Path]) -> Path | None:
        real = _resolved(self.root / addresses.plain(path))
        return real if real is not None and any(real.is_relative_to(folder) for folder in folders) else None


def _on_disk(written: Iterable[str]) -> Iterator[str]:
    """Those that are paths, or are another way to write one."""
    return (addresses.plain(each) for each in written if not addresses.is_object(each))


_PATTERN: Final = re.compile(r"[*?\[{]")


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links; what can be no name
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """What was made of one job."""

    id: str
    before: Made | Missing
    after: Made | Missing
    loop: Made | Missing
    is_moment: bool


def make(
    jobs: Sequence[Job],
    *,
    folders: Folders,
    cache: Path | None,
    embedded: bool = True,
    done: Callable[[int, int], None] | None = None,
) -> list[Pictured]:
    """The pictures of these jobs, small enough for a page that holds them all; takes its time the first time."""
    most_bytes = _poster_bytes(len(jobs)) if embedded else pictures.POSTER_BYTES
    with_result = [job.id for job in jobs if job.outputs]
    unlooped = frozenset(with_result[LOOPED:] if embedded else ())
    plans = [
        (
            job,
            _coarse(_before(job, folders), most_bytes),
            _coarse(_after(job, folders), most_bytes),
            LEFT_OUT if job.id in unlooped else _loop(job, folders),
        )
        for job in jobs
    ]
    wanted = [each for _, *three in plans for each in three if isinstance(each, Wanted)]
    tell = None if done is None else lambda count: done(count, len(wanted))
    made = dict(zip(wanted, pictures.every(cache, wanted, done=tell), strict=True))

    def found(each: Wanted | Missing) -> Made | Missing:
        return made[each] if isinstance(each, Wanted) else each

    return [
        Pictured(
            id=job.id,
            before=found(before),
            after=found(after),
            loop=found(loop),
            is_moment=job.suspect is not None and isinstance(after, Wanted) and _moment(job) is not None,
        )
        for job, before, after, loop in plans
    ]


def _poster_bytes(jobs: int) -> int:
    """Of a poster in a page of so many jobs, each of which has two."""
    return pictures.POSTER_BYTES if 2 * jobs * pictures.POSTER_BYTES <= MOST_EMBEDDED else COARSE_BYTES


def _coarse(wanted: Wanted | Missing, most_bytes: int) -> Wanted | Missing:
    return replace(wanted, most_bytes=most_bytes) if isinstance(wanted, Wanted) else wanted


def _before(job: Job, folders: Folders) -> Wanted | Missing:
    """The picture of what goes in, at the moment at which the result is shown."""
    given = next((each for each in job.spec.inputs if each.media in {"video", "image"}), None)
    if given is None:
        return Missing(why="nothing goes in")
    if given.path is None or given.sha256 is None:
        return Missing(why=_elsewhere(given))
    if addresses.is_object(given.path):
        return Missing(why=IN_A_BUCKET)
    path = folders.input(given.path)
    if path is None:
        return ELSEWHERE
    media: Media = "image" if given.media == "image" else "video"
    moment = _moment(job)
    shown_s = pictures.POSTER_AT * job.spec.seconds if moment is None else moment
    start_s = float(job.spec.body().get("start_seconds") or 0)
    return Wanted(
        path=path,
        sha256=given.sha256,
        size=given.size,
        known_at=job.opened_at,
        media=media,
        at_s=None if media == "image" else round(start_s + shown_s, 2),
    )


def _elsewhere(given: Input) -> str:
    reference = given.reference or ""
    return "it comes from the web" if "://" in reference else "it is with the provider"


def _after(job: Job, folders: Folders) -> Wanted | Missing:
    moment = _moment(job)
    return _result(job, folders, at_s=pictures.poster_at(job.spec.seconds, moment))


def _loop(job: Job, folders: Folders) -> Wanted | Missing:
    return _result(job, folders, at_s=None)


def _result(job: Job, folders: Folders, *, at_s: float | None) -> Wanted | Missing:
    if not job.outputs:
        return Missing(why=f"nothing yet: {job.state}" if not job.is_final else f"nothing: {job.state}")
    output = next((each for each in job.outputs if each.suspect_at_s is not None), job.outputs[0])
    if addresses.is_object(output.path):
        return Missing(why=IN_A_BUCKET)
    path = folders.result(output.path)
    if path is None:
        return ELSEWHERE
    return Wanted(
        path=path,
        sha256=output.sha256,
        size=output.bytes,
        known_at=job.ended_at or job.updated_at,
        at_s=at_s,
    )


def _moment(job: Job) -> float | None:
    """The seconds into a result that show why it is suspect."""
    return next((each.suspect_at_s for each in job.outputs if each.suspect_at_s is not None), None)


# --- where a page finds them -----------------------------------------------------------------------------------------


def placed(made: Sequence[Pictured], *, assets: Path | None, page_folder: Path, clean: Callable[[str], str]) -> Gallery:
    """The pictures for a page in a folder: in it, as far as there is room, or in a folder of files.

    Raises:
        OSError: that folder cannot be written.
    """
    if assets is not None:
        address = _Beside(assets, page_folder)
        return Gallery(shown={clean(each.id): _shown(each, address.of, address.of, clean) for each in made})
    stills, loops = _Embedded(MOST_EMBEDDED), _Embedded(MOST_LOOPS)
    shown = {clean(each.id): _shown(each, stills.of, loops.of, clean) for each in made}
    no_loop = loops.left + sum(each.loop is LEFT_OUT for each in made)
    left = [each for each in (_count(stills.left, "picture"), _count(no_loop, "loop")) if each]
    note = f"Left out to keep this page small: {', '.join(left)}. --assets FOLDER puts all beside it." if left else ""
    return Gallery(shown=shown, note=note)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}" if count else ""


Which = Literal["before", "after", "loop"]
KINDS: Final[Mapping[str, Which]] = {"before": "before", "after": "after", "loop": "loop"}


def wanted(job: Job, folders: Folders, which: Which) -> Wanted | Missing:
    """One picture of one job."""
    find = {"before": _before, "after": _after, "loop": _loop}[which]
    return find(job, folders)


Address = Callable[[Made], str | None]


def _shown(each: Pictured, still: Address, loop: Address, clean: Callable[[str], str]) -> Shown:
    before, before_why = _picture(each.before, still)
    after, after_why = _picture(each.after, still)
    return Shown(
        before=before,
        before_why=clean(before_why),
        after=after,
        after_why=clean(after_why),
        loop=loop(each.loop) if after is not None and isinstance(each.loop, Made) else None,
        is_moment=each.is_moment,
    )


def _picture(made: Made | Missing, address: Address) -> tuple[Picture | None, str]:
    if isinstance(made, Missing):
        return None, made.why
    src = address(made)
    if src is None:
        return None, LEFT_OUT.why
    return Picture(src=src, width=made.width, height=made.height), ""


class _Embedded:
    """Addresses that hold the picture, as long as there is room."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.left = 0

    def of(self, made: Made) -> str | None:
        if len(made.data) > self._room:
            self.left += 1
            return None
        self._room -= len(made.data)
        return f"data:image/webp;base64,{base64.b64encode(made.data).decode()}"


class _Beside:
    """Addresses of files in a folder, written when they are asked for; named by what is in them."""

    def __init__(self, folder: Path, page_folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._link = link_from(page_folder, folder.resolve())

    def of(self, made: Made) -> str:
        name = f"{hashlib.sha256(made.data).hexdigest()[:32]}.webp"
        path = self._folder / name
        if not path.exists():
            path.write_bytes(made.data)
        return self._link(name)
