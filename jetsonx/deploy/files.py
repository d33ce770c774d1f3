"""Releases that are files: what a build left becomes one tar, the same bytes each time, and a program to start.

The tars that were made last are kept in the user's cache: a recipe starts from the one that a device has.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from pathlib import Path
from typing import IO

from jetsonx.build.source import find_image_files
from jetsonx.deploy.built import Built
from jetsonx.deploy.bundle import Bundle, Maker, Prepared, write_recipe
from jetsonx.deploy.image import LocalImage, LocalLayer
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.layermap import LayerMap
from jetsonx.deploy.oldtree import OldTree
from jetsonx.deploy.options import ImageFacts, Program
from jetsonx.deploy.recipe import RecipeWriter
from jetsonx.deploy.state import AppState
from jetsonx.deploy.transfer import Chosen, Descriptor, Method, Receiver, TransferPlan
from jetsonx.deploy.whole import packed
from jetsonx.errors import ConfigError
from jetsonx.image import layer
from jetsonx.image.app import App, plan_app, read_app_file
from jetsonx.project.model import Project
from jetsonx.store.cachedir import CacheDir

_TARS_MAX = 12
_CLEARLY = 0.9  # a recipe costs the device some work, so it must save a tenth


def load_files(project: Project, place: Path, cache: CacheDir) -> Built:
    """What a build left in ``place``, with the project's ``image.files``, as a tar in the cache.

    Raises ConfigError when nothing was built there, BuildError for a file that cannot be read.
    """
    folder = place / "files"
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    found |= find_image_files(project, exclude=place)
    app = plan_app(project.name, [read_app_file(path, name) for name, path in found.items()])
    image = _pack(app, cache)
    try:
        targets = json.loads((place / "report.json").read_text())["targets"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{place} holds no finished build", hint="build first: jetsonx build") from None
    facts = ImageFacts(
        id=image.id, architecture="arm64", labels={"jetsonx.target": ",".join(str(each) for each in targets)}
    )
    inside = len(app.directory) + 1
    libraries = tuple(folder[inside:] or "." for folder in app.library_dirs)
    program = Program(command=_command(project, app), library_dirs=libraries)
    return Built(path=folder, image=image, facts=facts, program=program)


def _command(project: Project, app: App) -> tuple[str, ...]:
    """The program as a path in its directory, and its arguments; () when there is none, or several."""
    programs = [file.name for file in app.files if file.is_executable and not file.is_library]
    words = project.image.entrypoint
    if not words:
        return (f"./{programs[0]}", *project.image.cmd) if len(programs) == 1 else ()
    wanted = words[0].removeprefix(f"/{app.directory}/")
    named = [name for name in programs if wanted in (name, posixpath.basename(name))]
    if len(named) > 1 and wanted not in named:
        raise ConfigError(
            f"{project.path}: image.entrypoint: {wanted!r} is more than one program: {', '.join(named)}",
            hint="name it by its whole path",
        )
    first = f"./{wanted if wanted in named else named[0]}" if named else words[0]
    return (first, *words[1:], *project.image.cmd)


def _pack(app: App, cache: CacheDir) -> LocalImage:
    links = dict(app.links)
    entries = [
        layer.file(file.name, file.path, 0o755 if file.is_executable else 0o644)
        for file in app.files
        if file.name not in links
    ]
    entries += [layer.symlink(name, target) for name, target in app.links]
    with cache.scratch() as scratch, cache.guard("packing the files"):
        part = scratch / "files.tar"
        with part.open("wb") as out:
            blob = layer.write_layer(entries, out, compression="none")
        with cache.lock("deployed"):
            folder = cache.folder("deployed") / "files"
            folder.mkdir(exist_ok=True)
            part.replace(folder / _name(blob.diff_id))
            for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-_TARS_MAX]:
                old.unlink()
        return _image(folder / _name(blob.diff_id), blob.diff_id)


def _name(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _image(tar: Path, digest: str) -> LocalImage:
    size = tar.stat().st_size
    only = LocalLayer(diff_id=digest, digest=digest, size_bytes=size, compression="none", path=tar)
    return LocalImage(id=digest, config=b"", layers=(only,))


def prepare_files(built: Built, name: str, app: AppState, kept: Kept, device: Receiver, method: Method) -> Prepared:
    """Find the cheapest way to bring the files to a device that has the releases of ``app``, and make what is sent.

    Raises ConfigError when ``method`` is impossible, HostError when the cache is not writable.
    """
    image = built.image
    there = [each for each in (app.current, app.previous, *app.older) if each is not None and each.form == "files"]
    if method != "full" and any(each.image_id == image.id for each in there):
        plan = TransferPlan(method="none", why="the device has these files", there=image.id)
        return Prepared(name=name, image=image, plan=plan, bundle=None)
    maker = Maker(image, name, kept)
    thin = maker.find_or_make(["files", image.id], lambda out: _whole(out, image.layers[0], kept.cache))
    prices = {"thin": thin.size_bytes}
    recipe, old = None, ""
    if device.has_python and method in ("auto", "recipe"):
        for each in there:
            tar = kept.cache.root / "deployed" / "files" / _name(each.image_id)
            if tar.is_file():
                recipe, old = _recipe(maker, image, _image(tar, each.image_id), kept.cache, device.has_lzma), each.id
                prices["recipe"] = recipe.size_bytes
                break
    if method == "recipe" and recipe is None:
        why = "no earlier release there is kept here" if device.has_python else "the device has no python3"
        raise ConfigError(f"--method recipe: {why}", hint="--method auto")
    chosen: Chosen = "full" if method == "full" else "thin"
    if recipe is not None and (method == "recipe" or recipe.size_bytes < _CLEARLY * thin.size_bytes):
        chosen = "recipe"
    bundle = recipe if chosen == "recipe" and recipe is not None else thin
    plan = TransferPlan(
        method=chosen,
        why="asked for" if method != "auto" else "",
        prices={**prices, chosen: bundle.size_bytes},
        old_image_id=old if chosen == "recipe" else "",
        new_layers_bytes=image.size_bytes,
    )
    return Prepared(name=name, image=image, plan=plan, bundle=bundle)


def _whole(out: IO[bytes], tar: LocalLayer, cache: CacheDir) -> tuple[int, bytes, dict[str, Descriptor]]:
    with cache.scratch() as scratch:
        for block in packed(tar, scratch).stored():
            out.write(block)
    return tar.size_bytes, b"", {}


def _recipe(maker: Maker, image: LocalImage, old: LocalImage, cache: CacheDir, has_lzma: bool) -> Bundle:
    """How the tar is made from the files of the ``old`` one, as they lie in a directory of the device."""
    compression = "xz" if has_lzma else "zlib"

    def make(out: IO[bytes]) -> tuple[int, bytes, dict[str, Descriptor]]:
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(cache.scratch())
            new = stack.enter_context(contextlib.closing(LayerMap(image.layers[0], scratch)))
            past = stack.enter_context(contextlib.closing(LayerMap(old.layers[0], scratch, is_trusted=True)))
            body = stack.enter_context((scratch / "body").open("w+b"))
            writer = RecipeWriter(OldTree([past]), body)
            writer.layer(new)
            members = [("files.tar", new.size_bytes, _name(image.id))]
            header = {"format": 1, "compression": compression, "members": members}
            write_recipe(out, header, writer.sources(), body)
        return image.size_bytes, b"", {}

    return maker.find_or_make(["files-recipe", compression, old.id, image.id], make)
