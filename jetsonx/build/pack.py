"""The image of a build: the minimal base and the CUDA libraries from the sysroot, the outputs on top."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jetsonx import __version__
from jetsonx.build import image_packages, image_runtime
from jetsonx.build.image_test import run_test
from jetsonx.build.local import Built
from jetsonx.build.revision import Revision, load_epoch
from jetsonx.build.source import find_image_files
from jetsonx.errors import ConfigError
from jetsonx.image.app import read_app_file
from jetsonx.image.closure import needed_closure
from jetsonx.image.minimal import SYSTEM_LIBRARIES, Deb, over_runtime, system_files
from jetsonx.image.oci import Image
from jetsonx.image.pack import plan_image, write_image
from jetsonx.image.packages import Packages
from jetsonx.packages.deb import read_control
from jetsonx.sysroot.pull import fetch_debs
from jetsonx.toolchain.tools import Fetcher

if TYPE_CHECKING:
    from jetsonx.build.pipeline import Prepared

_SYSTEM_DIRS = ("usr/lib/aarch64-linux-gnu", "usr/lib")


def pack(prepared: Prepared, built: Built, revision: Revision | None, fetcher: Fetcher) -> Image:
    """Write ``out/image``. Raises ConfigError for one that cannot be made as asked, BuildError when its test fails."""
    project, sysroot, target = prepared.project, prepared.sysroot, prepared.targets[0]
    if project.image.base != "minimal":
        raise ConfigError(
            f"{project.path}: image.base: the local engine packs onto 'minimal' only, not {project.image.base!r}",
            hint='set base = "minimal", or build the image from out/files with your own Dockerfile',
        )
    cuda_libraries = f"{prepared.sdk.cuda_dir}/targets/{prepared.sdk.cuda_target}/lib"
    closure = needed_closure(
        [built.files / name for name in built.outputs],
        sysroot.path,
        owners=sysroot.owners,
        packages=frozenset(package.name for package in sysroot.packages) if sysroot.is_packaged else frozenset(),
        library_dirs=(*_SYSTEM_DIRS, cuda_libraries),
        driver_libraries=target.line.driver_libraries,
        also=() if sysroot.is_packaged else SYSTEM_LIBRARIES,
    )
    if not sysroot.is_packaged:
        loose = sorted({*closure.loose, *system_files(sysroot.path)})
        closure = replace(closure, loose=tuple(loose))
    paths = fetch_debs(sysroot, target, fetcher.effects)
    debs = {
        package.name: Deb(name=package.name, version=package.version, sha256=package.sha256, path=paths[package.name])
        for package in sysroot.packages
        if package.name in paths
    }
    runtime = image_runtime.fetch(prepared.runtime, target, fetcher.effects)
    debs = over_runtime(debs, runtime, closure.packages, read_control=read_control)
    packages = Packages(debs=image_packages.fetch(prepared.image, target, sysroot, prepared.runtime, fetcher.effects))
    extra = [read_app_file(path, name) for name, path in find_image_files(project, exclude=prepared.out).items()]
    plan = plan_image(
        name=project.name,
        reference=f"{project.name}:{project.version}",
        files=[*(read_app_file(built.files / name, name) for name in built.outputs), *extra],
        closure=closure,
        sysroot=sysroot.path,
        sysroot_digest=sysroot.digest,
        debs=debs,
        origin=sysroot.suite or target.line.suite,
        driver_dirs=target.line.tegra_library_dirs,
        packages=packages,
        entrypoint=project.image.entrypoint,
        command=project.image.cmd,
        test=project.image.test,
        env=dict(project.image.env),
        labels={**image_labels(prepared, revision), **dict(project.image.labels)},
        user=project.image.user or "",
        working_dir=project.image.workdir,
        ports=project.image.expose,
        created_s=revision.committed_s if revision else load_epoch(),
    )
    return write_image(
        plan,
        prepared.out / "image",
        cache_dir=fetcher.store.root / "layers",
        read_control=read_control,
        check=partial(run_test, plan, timeout_s=project.image.test_timeout_s, effects=fetcher.effects),
    )


def image_labels(prepared: Prepared, revision: Revision | None) -> dict[str, str]:
    """What the image says of itself; `jetsonx deploy` compares it with the device."""
    project, targets = prepared.project, prepared.targets
    labels = {
        "jetsonx.version": __version__,
        "jetsonx.target": ",".join(target.name for target in targets),
        "jetsonx.l4t": targets[0].release.l4t,
        "jetsonx.cuda": targets[0].cuda_version,
        "jetsonx.sms": ",".join(str(sm) for sm in prepared.sdk.device_code.sms),
        "jetsonx.sysroot": prepared.sysroot.digest,
        "org.opencontainers.image.title": project.name,
        "org.opencontainers.image.version": project.version,
    }
    if prepared.runtime.suite is not None:
        labels["jetsonx.runtime"] = prepared.runtime.codename
    return labels | ({"org.opencontainers.image.revision": revision.name} if revision else {})
