"""What is deployed: the project's [deploy] and secrets, and the image that fits a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jetsonx.catalog import Catalog
from jetsonx.deploy.built import Built
from jetsonx.deploy.image import load_image
from jetsonx.deploy.options import parse_image
from jetsonx.deploy.order import Order
from jetsonx.deploy.request import check_app
from jetsonx.device.identify import Identity
from jetsonx.errors import ConfigError
from jetsonx.project import load_project
from jetsonx.project.model import FILE_NAME, DeploySection, Project
from jetsonx.store.cachedir import CacheDir

_MOST_SECRET_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What goes to devices. ``images`` are the project's, one for each L4T release, or the one that was named;
    ``env`` what files get of the image's environment.
    """

    app: str
    deploy: DeploySection
    secrets: Mapping[str, bytes]
    images: tuple[Built, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def load_sources(order: Order, cache: CacheDir) -> Sources:
    """Everything that is read here before a device is asked.

    Raises ConfigError for a project without an image, an image that is none, a name that no app can have, or a secret
    that cannot be read.
    """
    project = _project(order)
    if project is not None and project.deploy.kind == "files":
        return _load_files(order, project, cache)
    images = tuple(_load(path) for path in _places(order))
    app = order.app or (project.name if project else _title(images[0]))
    check_app(app)
    deploy = project.deploy if project else DeploySection()
    secrets = dict(_secrets(project)) if project else {}
    return Sources(app=app, deploy=deploy, secrets=secrets, images=images)


def _load_files(order: Order, project: Project, cache: CacheDir) -> Sources:
    if order.image is not None or order.is_blue_green:
        what = "--image" if order.image is not None else "--blue-green"
        raise ConfigError(f'{what} is for containers, and {project.path} says deploy.kind = "files"')
    from jetsonx.deploy.files import load_files

    app = order.app or project.name
    check_app(app)
    images = tuple(load_files(project, place, cache) for place in _find(order, "files"))
    return Sources(
        app=app,
        deploy=project.deploy,
        secrets=dict(_secrets(project)),
        images=images,
        env=dict(project.image.env),
    )


def choose_image(images: Sequence[Built], identity: Identity, l4t: str | None, catalog: Catalog) -> Built:
    """The image that was built for the device, else one that runs there, else any: the preflight says what is wrong."""
    target = identity.target.name if identity.target else ""
    exact = (each for each in images if target in each.facts.targets)
    return next(exact, None) or next(_fitting(images, identity, l4t, catalog), images[0])


def _fitting(images: Sequence[Built], identity: Identity, l4t: str | None, catalog: Catalog) -> Iterator[Built]:
    for each in images:
        releases = {name.partition("@")[2] for name in each.facts.targets}
        has_code = not each.facts.sms or set(identity.sms) <= set(each.facts.sms)
        if l4t and has_code and any(catalog.runs_images_of(l4t, release) for release in releases):
            yield each


def _project(order: Order) -> Project | None:
    """The project; an image by itself needs none, and then what a release is made of are defaults."""
    if order.image is not None and not (order.directory / FILE_NAME).is_file():
        return None
    return load_project(order.directory)


def _places(order: Order) -> tuple[Path, ...]:
    """Where the images lie: a build for several L4T releases leaves a directory for each."""
    if order.image is not None:
        return (order.image,)
    return tuple(place / "image" for place in _find(order, "image"))


def _find(order: Order, what: str) -> tuple[Path, ...]:
    """The directories of builds that hold ``what``."""
    out = order.output or order.directory / "out"
    found = tuple(place for place in (out, *sorted(out.glob("r*"))) if (place / what).is_dir())
    if not found:
        hint = "build one first: jetsonx build; or name one: --image DIR|FILE"
        raise ConfigError(f"{out} holds no {what}", hint=hint if what == "image" else "build first: jetsonx build")
    return found


def _load(path: Path) -> Built:
    image = load_image(path)
    return Built(path=path, image=image, facts=parse_image(image.id, image.config))


def _title(built: Built) -> str:
    """What an image without a project calls itself."""
    if title := built.facts.labels.get("org.opencontainers.image.title", ""):
        return title
    raise ConfigError(f"{built.path} does not say what it is called", hint="say it: --app NAME")


def _secrets(project: Project) -> Iterator[tuple[str, bytes]]:
    for name, where in project.deploy.secrets:
        path = project.root / where
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_SECRET_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"{project.path}: deploy.secrets.{name}: {path} cannot be read: {error.strerror}",
                hint="secrets are files on this host; keep them out of version control",
            ) from None
        if len(data) > _MOST_SECRET_BYTES:
            raise ConfigError(f"{path}: a secret has at most {_MOST_SECRET_BYTES} bytes")
        yield name, data
