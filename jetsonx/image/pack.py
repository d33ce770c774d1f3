"""From a build's outputs to an image, in two steps: plan it from facts, then write it.

The seldom changed first: the base (packages), the libraries no package brings (CUDA), the packages that the project
asks for, if any, and the application.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jetsonx.image import blobs, oci
from jetsonx.image.app import App, AppFile, app_entries, plan_app, resolve_entrypoint
from jetsonx.image.blobs import Stored
from jetsonx.image.closure import Closure
from jetsonx.image.minimal import (
    CERTIFICATES,
    SYSTEM_DIRS,
    Base,
    Deb,
    Libraries,
    Origin,
    base_entries,
    library_entries,
    plan_base,
)
from jetsonx.image.oci import Config, Image
from jetsonx.image.packages import NO_PACKAGES, Packages, package_entries

_ENV = {
    "NVIDIA_VISIBLE_DEVICES": "all",  # what makes the nvidia runtime mount devices and driver libraries
    "NVIDIA_DRIVER_CAPABILITIES": "all",
    "SSL_CERT_FILE": f"/{CERTIFICATES}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """Everything that decides an image's bytes. ``reference`` is the ``repository:tag`` it is loaded as.

    ``test`` decides none of them: the command that has to succeed in it, () for none.
    """

    reference: str
    base: Base
    libraries: Libraries
    packages: Packages
    app: App
    config: Config
    test: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hexadecimal digest of the plan: the same key, the same image."""
        keys = [self.base.key, self.libraries.key, self.app.key]
        keys += [self.packages.key] if self.packages.debs else []
        facts = {"reference": self.reference, "layers": keys, "config": asdict(self.config)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plan_image(
    *,
    name: str,
    reference: str,
    files: Sequence[AppFile],
    closure: Closure,
    sysroot: Path,
    sysroot_digest: str,
    debs: Mapping[str, Deb],
    origin: Origin,
    driver_dirs: Sequence[str],
    packages: Packages = NO_PACKAGES,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    test: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    user: str = "",
    working_dir: str | None = None,
    ports: Sequence[str] = (),
    created_s: int = 0,
) -> ImagePlan:
    """Plan the image of a project called ``name``, with ``files`` below ``/opt/NAME``, on the base ``minimal``.

    ``closure`` says what the files need, ``debs`` holds the sysroot's packages and ``ca-certificates`` by name,
    ``driver_dirs`` are the directories (from the root) that the driver's libraries are mounted into. ``packages`` come
    in place of what the base would hold of the same names. ``created_s`` is the image's time (SOURCE_DATE_EPOCH); the
    layers below the application keep time 0, to stay the same.

    Raises ConfigError for a missing package, a file that has no place, or an entrypoint that is none of the programs.
    """
    app = plan_app(name, files)
    packaged = bool(packages.debs)
    brought = {deb.name for deb in packages.debs}
    environment = {
        "PATH": f"/{app.directory}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **_ENV,
        **(env or {}),
    }
    return ImagePlan(
        reference=reference,
        base=plan_base(sorted({*closure.packages} - brought), debs, origin=origin, driver_dirs=driver_dirs),
        libraries=Libraries(sysroot=sysroot, digest=sysroot_digest, paths=closure.loose),
        packages=packages,
        app=app,
        test=resolve_entrypoint(app, test, key="image.test", packaged=packaged) if test else (),
        config=Config(
            entrypoint=resolve_entrypoint(app, entrypoint, packaged=packaged),
            command=tuple(command),
            env=environment,
            working_dir=working_dir or f"/{app.directory}",
            user=user,
            ports=tuple(ports),
            labels=dict(labels or {}),
            created_s=created_s,
        ),
    )


def write_image(
    plan: ImagePlan,
    out_dir: Path,
    *,
    cache_dir: Path,
    read_control: Callable[[Path], str],
    check: Callable[[Image], None] = lambda _: None,
) -> Image:
    """Write the planned image to ``out_dir``, whole or not at all; nothing is written when it is there already.

    ``cache_dir`` keeps the lower layers, which are compressed once. ``read_control`` returns a .deb's control file.
    ``check`` raises what is wrong with the image before it takes its place.

    Raises HostError when either directory cannot be written, BuildError for an output that cannot be read, and
    DownloadError for a damaged package.
    """
    if (image := oci.read_image(out_dir, plan.key)) is not None:
        check(image)
        return image
    origin = plan.base.origin
    base = blobs.find_or_store(
        cache_dir, plan.base.key, lambda scratch: base_entries(plan.base, scratch, read_control=read_control)
    )
    layers = [(f"jetsonx minimal: {origin.distribution} {origin.codename}, {len(plan.base.debs)} packages", base)]
    if plan.libraries.paths:
        cuda = blobs.find_or_store(cache_dir, plan.libraries.key, lambda _: library_entries(plan.libraries))
        layers.append(("jetsonx libraries", cuda))
    if plan.packages.debs:
        # Above the libraries: what else of a root file system is there gives way to what belongs to the packages.
        asked = blobs.find_or_store(
            cache_dir,
            plan.packages.key,
            lambda scratch: package_entries(plan.packages, scratch, read_control=read_control),
        )
        layers.append((f"jetsonx packages: {len(plan.packages.debs)} packages", asked))
    with oci.replaced_directory(out_dir) as layout:
        layers.append((f"jetsonx build: /{plan.app.directory}", _store_app(plan, layout, [x for _, x in layers])))
        image = oci.write_blobs(layout, plan.config, layers, reference=plan.reference, key=plan.key)
        check(image)
    return replace(image, path=out_dir)


def _store_app(plan: ImagePlan, layout: Path, lower: Sequence[Stored]) -> Stored:
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True)
    below = [path for stored in lower for path in stored.paths]
    entries = app_entries(plan.app, below, (*plan.libraries.directories, *SYSTEM_DIRS))
    return blobs.store(folder, entries, mtime_s=plan.config.created_s)
