"""The parent's side of the decoding child: started when needed, timed, killed and replaced when it dies, hangs or babbles."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from types import TracebackType

from ..errors import DecoderFault, DecoderTimeout
from .wire import Message, Room, WireError, receive, send

MEMORY = 8 << 30
"""Bytes of address space that a child may take."""
START = 120.0
"""Seconds that a child may take to import MDAnalysis, from a cold network file system."""
READ = 120.0
"""Seconds for one batch of frames."""

_MODULE = "cryovox.tasks.decoding.decoder"
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


class Sandbox:
    """One child process, one request at a time; safe to share between threads, never to pickle.

    The child may take `memory` bytes of address space, write no file and dump no core; each request may limit its processor time.
    Raises `DecoderFault` whenever the child dies or answers nonsense, `DecoderTimeout` where it does not answer in time; it is
    killed and reaped then, and the next request gets a new one. On Linux the child also dies with the thread that started it:
    that heals the same way.
    """

    def __init__(self, memory: int = MEMORY):
        self._memory = memory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._room: Room | None = None
        self._end: weakref.finalize | None = None
        self._words: deque[bytes] = deque(maxlen=64)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None where there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the child unless it runs: a fault here is the installation's or the machine's, never a file's."""
        with self._lock:
            self._start()

    def request(self, message: Message, timeout: float, cpu: float | None = None) -> Message:
        """The child's answer to `message`, within `timeout` seconds, of which it may compute for `cpu`.

        The first tells a file system that hangs, the second a decoder that runs in circles.
        """
        limited = message if cpu is None else Message({**message.head, "cpu": cpu}, message.arrays)
        with self._lock:
            self._start()
            return self._exchange(limited, timeout)

    def close(self) -> None:
        """Kill and reap the child: it holds nothing that needs saving."""
        with self._lock:
            self._discard()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._discard()
        self._words.clear()
        self._room = Room.made()
        inherited = () if self._room is None else (self._room.descriptor,)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, *map(str, (os.getpid(), self._memory, *inherited))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=inherited,
                env={**os.environ, **_ONE_THREAD},
            )
        except BaseException:
            if self._room is not None:
                self._room.close()
            self._room = None
            raise
        self._end = weakref.finalize(self, _kill, self._process, self._room)
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._exchange(None, START)

    def _exchange(self, message: Message | None, timeout: float) -> Message:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + timeout
        try:
            if message is not None:
                send(message, lambda view: self._write(process, view, deadline), self._room)
            return receive(lambda view: self._fill(process, view, deadline), self._room)
        except (EOFError, BrokenPipeError):
            raise DecoderFault(self._last_words(self._epitaph(process, message))) from None
        except TimeoutError:
            raise DecoderTimeout(self._last_words(f"gave no answer in {timeout:.0f} s and was killed")) from None
        except WireError as error:
            raise DecoderFault(self._last_words(f"answered nonsense ({error}) and was killed")) from error
        except BaseException:
            self._discard()  # Ctrl-C in the middle of an answer: what is left in the pipe belongs to no later request
            raise

    def _write(self, process: subprocess.Popen[bytes], view: memoryview, deadline: float) -> None:
        assert process.stdin is not None
        pipe = process.stdin.fileno()
        while view:
            self._wait(process, pipe, select.POLLOUT, deadline)
            view = view[os.write(pipe, view[:65536]) :]

    def _fill(self, process: subprocess.Popen[bytes], view: memoryview, deadline: float) -> None:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        while view:
            self._wait(process, pipe, select.POLLIN, deadline)
            n = os.readv(pipe, [view])
            if n == 0:
                raise EOFError
            view = view[n:]

    def _wait(self, process: subprocess.Popen[bytes], pipe: int, event: int, deadline: float) -> None:
        """Until `pipe` is ready; meanwhile what the child says on stderr is taken, or it would block on a full pipe."""
        assert process.stderr is not None
        words = process.stderr.fileno()
        poll = select.poll()
        poll.register(pipe, event)
        poll.register(words, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = dict(poll.poll(left * 1000))
            if words in ready:
                said = os.read(words, 4096)
                self._words.append(said)
                if not said:
                    poll.unregister(words)
            if pipe in ready:
                return

    def _epitaph(self, process: subprocess.Popen[bytes], message: Message | None) -> str:
        try:
            code = process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe and was killed"
        if code == -signal.SIGXCPU and message is not None and "cpu" in message.head:
            return f"computed for more than {message.head['cpu']:.0f} s and was killed by SIGXCPU"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def _last_words(self, what: str) -> str:
        """The child's end, as a sentence: which it is, `what` befell it, and what it said on stderr."""
        pid, process = self.pid, self._process
        assert process is not None
        assert process.stderr is not None
        process.kill()
        while said := os.read(process.stderr.fileno(), 4096):
            self._words.append(said)
        self._discard()
        words = b"".join(self._words).decode(errors="replace").strip()[-2000:]
        return f"the decoding process {pid} {what}" + (f"; its last words:\n{words}" if words else "")

    def _discard(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = self._room = None


def _kill(process: subprocess.Popen[bytes], room: Room | None) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    if room is not None:
        room.close()
