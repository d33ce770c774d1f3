"""Makes an image out of a bundle and gives it to the engine: ``load``, with the request, a JSON object, on stdin.

It prints JSON objects, a line each: ``progress`` (bytes given to the engine), at the end ``loaded`` or ``failed`` with
a ``reason`` for programs: missing-file, mismatch, damaged (the recipe cannot be followed: send the layers whole), load
(the engine refuses it), disk, verify (it took it, and has something else).

An engine that reads the end of an archive registers what came. So anything that is wrong ends `docker load` before.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, TextIO

from jetsonx.deploy.helper.oldfiles import OldFiles, remove_leftovers
from jetsonx.deploy.helper.rebuild import rebuild
from jetsonx.deploy.helper.receive import staging_folder
from jetsonx.deploy.helper.recipe import CHUNK, MAGIC, RecipeError

_STEP = 1 << 22
_SCRATCH = "load-"


def main(words: List[str]) -> int:
    """Load what the request on standard input says; 0 when the image is there."""
    del words
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    return load(json.loads(sys.stdin.read()), sys.stdout)


def load(request: Dict[str, Any], out: TextIO) -> int:
    """Load the image of a request and report to ``out``.

    The request has ``bundle`` (a path, or a file's name among what was received), ``docker`` (words), ``old`` (the
    image that the recipe starts from, or ""), ``reference`` (the image's name), ``ids`` (what the engine may call it),
    ``layers`` (its diff IDs) and ``total`` (bytes of the archive).
    """
    os.umask(0o077)
    folder = staging_folder()
    bundle = os.path.join(folder, request["bundle"])
    try:
        with _alone(folder, out):
            remove_leftovers(request["docker"])
            scratch = tempfile.mkdtemp(prefix=_SCRATCH, dir=folder)
            try:
                _feed(request, bundle, scratch, out)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            identity = verify(request)
            os.sync()
            with contextlib.suppress(OSError):
                os.unlink(bundle)
    except RecipeError as error:
        _say(out, event="failed", reason=error.reason, message=str(error))
        return 1
    except OSError as error:
        reason = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "damaged"
        _say(out, event="failed", reason=reason, message=str(error))
        return 1
    _say(out, event="loaded", id=identity)
    return 0


def verify(request: Dict[str, Any]) -> str:
    """The engine's ID of the image, which has the layers that it should and is listed. Raises RecipeError."""
    docker, reference = request["docker"], request["reference"]
    text = _output([*docker, "image", "inspect", "--format", "{{json .RootFS.Layers}} {{.Id}}", reference])
    layers, _, identity = text.strip().rpartition(" ")
    if identity not in request["ids"] or json.loads(layers or "null") != request["layers"]:
        raise RecipeError("verify", "the engine has another image under the name {}".format(reference))
    # containerd's store runs, but neither lists nor saves, an image some of whose blobs are not there.
    if not _output([*docker, "image", "ls", "--quiet", "--filter", "reference=" + reference]).strip():
        raise RecipeError("verify", "the engine does not list {}: some of its layers are not there".format(reference))
    return identity


@contextlib.contextmanager
def _alone(folder: str, out: TextIO) -> Iterator[None]:
    """One load at a time, so that what is left of others was left by dead ones."""
    with open(os.path.join(folder, "load.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(out, event="waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for name in os.listdir(folder):
            if name.startswith(_SCRATCH) and os.path.isdir(os.path.join(folder, name)):
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        yield


def _feed(request: Dict[str, Any], bundle: str, scratch: str, out: TextIO) -> None:
    with open(bundle, "rb") as file, open(os.path.join(scratch, "said"), "w+b") as said:
        is_recipe = file.read(len(MAGIC)) == MAGIC
        with contextlib.closing(OldFiles(request["docker"], request.get("old", ""), scratch)) as old:
            if is_recipe:
                pieces = rebuild(file.read, old)
            else:
                file.seek(0)
                pieces = iter(lambda: file.read(CHUNK), b"")
            total = request["total"] if is_recipe else os.fstat(file.fileno()).st_size
            _give(request["docker"], pieces, said, _reporter(total, out))


def _give(docker: List[str], pieces: Iterator[bytes], said: Any, report: Callable[[int], None]) -> None:
    """Feed `docker load`; it is killed when ``pieces`` raises, so that it never sees an end."""
    process = subprocess.Popen([*docker, "load", "--quiet"], stdin=subprocess.PIPE, stdout=said, stderr=said)
    stream = process.stdin  # type: Any
    done = 0
    try:
        for piece in pieces:
            stream.write(piece)
            done += len(piece)
            report(done)
        stream.close()
    except BrokenPipeError:
        pass  # it says why
    except BaseException:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            stream.close()
        raise
    status = process.wait()
    said.seek(0)
    words = said.read().decode("utf-8", "replace").strip()[-500:]
    if status:
        raise RecipeError("disk" if os.strerror(errno.ENOSPC).lower() in words.lower() else "load", words)


def _reporter(total: int, out: TextIO) -> Callable[[int], None]:
    said = [0]

    def report(done: int) -> None:
        if done - said[0] >= _STEP:
            said[0] = done
            _say(out, event="progress", done=done, total=total)

    return report


def _output(words: List[str]) -> str:
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    if process.returncode:
        raise RecipeError("verify", err.decode("utf-8", "replace").strip()[-300:])
    return out.decode()


def _say(out: TextIO, **what: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # the link is gone; the load goes on
        out.write(json.dumps(what) + "\n")
        out.flush()
