"""Who looks into results: few at the same time, since what they need is the processor, which the loop needs, too.

In a run, programs of our own (`viewer`): PyAV takes Python's lock for each packet, and a file that crashes FFmpeg would
end the run, and each that goes on with it. Where no such program can be started, and for what is in a bucket, threads.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import os
from pathlib import Path
import sys
from types import TracebackType
from typing import Final, Self, TypeVar, assert_never

from batchrunner import environ, system, viewer
from batchrunner.core.result import Doubt
from batchrunner.errors import DamagedFile
from batchrunner.viewer import Answer, Damaged, Failed, Looked, Question

T = TypeVar("T")

AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
"""Looks at the same time. With more, they take turns with each other and the loop, and all of it takes longer."""

TRIES: Final = 2
"""Programs that may die of one result: the first may have died of something else, as of a machine without memory."""

PATIENCE_S = 300.0
PATIENCE = 10.0
"""Seconds for one look, and for each second that the result should have: a hundred times what it takes on a machine
that has nothing else to do. A file that leads a decoder in circles would hold up the run for ever."""

READY_S: Final = 60.0
"""Seconds for a program to start; a busy machine needs many."""

END_S: Final = 5.0

CRASHED: Final = "the program that looks into results crashed on it, or came to no end"

COMMAND: Final = (sys.executable or "", "-P", "-m", "batchrunner.viewer")
"""Without what lies in the working folder, which may be the person's."""

_POOL: Final = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="look")


async def see(look: Callable[..., T], *what: object) -> T:
    """What a look at something gives, taken in one of these threads; raises what the look raises."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, look, *what)


class Viewers:
    """The programs of one run: started with its first results, and ended with the block."""

    def __init__(self, *, tell: Callable[[str], None], command: Sequence[str] = COMMAND) -> None:
        """Hand in a word for the person, and the program."""
        self._tell = tell
        self._command = command
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Process] = []
        self._alive: set[Process] = set()
        self._cannot_start = getattr(sys, "frozen", False)  # where Python is part of a program, that one would start

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End them; nothing is lost with them."""
        self._cannot_start = True
        self._idle.clear()
        for each in self._alive:
            _kill(each)
        await asyncio.gather(*map(self._end, self._alive))

    async def see(self, question: Question, here: Callable[[], Doubt | None]) -> Doubt | None:
        """What is doubtful about a result; that is also what crashes, or holds up, each program that looks into it.

        Nobody can tell then whether it is a good one. It is paid for, so it is kept, and pointed out.

        Args:
            question: what is to be looked into.
            here: the same look in this process.

        Raises:
            DamagedFile: it is no video.
        """
        async with self._turns:
            for tries in range(TRIES):
                program = self._idle.pop() if self._idle and not tries else await self._started()
                if program is None:
                    # What one of them died of is not looked into here, where all would end with it.
                    return await see(here) if not tries else _CRASHED
                answer = await self._asked(program, question)
                if answer is not None:
                    return await _told(answer, here)
            return _CRASHED

    async def _asked(self, program: Process, question: Question) -> Answer | None:
        """Its answer; None where it died of the question, or was ended since it comes to no end with it.

        One that is not waited for is ended: nobody else must take what it says for an answer to something else.
        """
        answer = None
        try:
            with suppress(OSError, ValueError):  # it is gone; takes too long; or said more than an answer can have
                async with asyncio.timeout(PATIENCE_S + PATIENCE * question.seconds):
                    stdin, stdout = _pipes(program)
                    stdin.write(viewer.question_line(question))
                    answer = viewer.answer_of(await stdout.readline())
        finally:
            if answer is None:
                _kill(program)
            else:
                self._idle.append(program)
        if answer is None:
            await self._end(program)
        return answer

    async def _started(self) -> Process | None:
        """One more program; None where none can be started, which is told once."""
        if self._cannot_start:
            return None
        try:
            program = await asyncio.create_subprocess_exec(
                *self._command,
                env=_environment(),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,  # FFmpeg has much to say
                **system.own_session(),  # Ctrl-C is for the run
            )
        except (OSError, NotImplementedError, RuntimeError) as error:  # of some event loops, or without any program
            self._give_up(str(error) or type(error).__name__)
            return None
        self._alive.add(program)
        flaw: str | None = "it was not waited for"
        try:
            flaw = await _flaw_of(program)
        finally:
            if flaw is not None:
                _kill(program)
        if flaw is None:
            return program
        await self._end(program)
        self._give_up(flaw)
        return None

    def _give_up(self, why: str) -> None:
        if not self._cannot_start:
            self._tell(f"the program that looks into results cannot be started: {why}; the run looks into them itself")
        self._cannot_start = True

    async def _end(self, program: Process) -> None:
        """See one that was killed to its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await program.communicate()
        self._alive.discard(program)


_CRASHED: Final = Doubt(words=CRASHED, at_s=0.0)


async def _told(answer: Answer, here: Callable[[], Doubt | None]) -> Doubt | None:
    match answer:
        case Looked(doubt=doubt):
            return doubt
        case Damaged(words=words, hint=hint):
            raise DamagedFile(words, hint=hint)
        case Failed():
            return await see(here)  # so that the error is told as what it is, and where
        case _:
            assert_never(answer)


async def _flaw_of(program: Process) -> str | None:
    """Why one that was started cannot be used; None where it is ready."""
    with suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(READY_S):
            said = await _pipes(program)[1].readline()
            if said == viewer.READY:
                return None
            if not said:
                return f"it ended with exit code {await program.wait()}"
    return "it does not answer as it should"


def _pipes(program: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    assert program.stdin is not None
    assert program.stdout is not None
    return program.stdin, program.stdout


def _kill(program: Process) -> None:
    with suppress(ProcessLookupError):
        program.kill()


def _environment() -> dict[str, str]:
    """What such a program gets of our environment; it finds modules where this one does, and reads names as it does."""
    given = environ.passed(os.environ, environ.OF_PYTHON, environ.OF_LANGUAGE)
    path = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    return given | {"PYTHONPATH": path, "PYTHONUTF8": str(int(sys.flags.utf8_mode))}
