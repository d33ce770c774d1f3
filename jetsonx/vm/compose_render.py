"""A virtual machine in a container as a compose file, as one `docker run`, and as a Kubernetes manifest: pure.

YAML is written with every text in double quotes, as JSON spells it: YAML 1.2 reads JSON, and nothing in a path or an
address is then taken for a number, a comment or an anchor.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from jetsonx.errors import ConfigError
from jetsonx.vm.compose import Service, load_facts

Kind = Literal["compose", "run", "kubernetes"]
Value = str | int | bool | Sequence["Value"] | Mapping[str, "Value"]
# YAML 1.1 reads some words as truth values.
_PLAIN_KEY = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][A-Za-z0-9_./-]*", re.IGNORECASE)
_STORAGE = "/storage"
_UNITS = {"M": "Mi", "G": "Gi", "T": "Ti"}


def render(service: Service, kind: Kind) -> str:
    """The whole text, with a line break at its end. Raises ConfigError for what a format has no way to say."""
    if kind == "compose":
        return "\n".join(_yaml(_compose(service))) + "\n"
    if kind == "run":
        return shlex.join(run_words(service)) + "\n"
    return "".join(f"---\n{text}\n" for text in ("\n".join(_yaml(each)) for each in _kubernetes(service)))


def _compose(service: Service) -> Mapping[str, Value]:
    """A compose file. Compose replaces $NAME in every text: a dollar sign is doubled."""
    is_plain = ":" not in service.storage
    volumes: list[Value] = [
        # Compose passes a directory that it may make on as SOURCE:TARGET, in which no further colon can stand.
        {"type": "bind", "source": service.storage, "target": _STORAGE, "bind": {"create_host_path": is_plain}}
        if service.is_stored_in_directory
        else {"type": "volume", "source": service.storage, "target": _STORAGE}
    ]
    if service.mount is not None:
        # Not made when it is missing: Docker would make a directory of it.
        bind: Value = {"create_host_path": False}
        volumes.append({"type": "bind", "source": service.mount.source, "target": service.mount.target, "bind": bind})
    facts = load_facts()
    document: dict[str, Value] = {
        "services": {
            service.name: {
                "image": service.image,
                "container_name": service.name,
                "environment": service.environment,
                "devices": list(service.devices),
                "cap_add": ["NET_ADMIN"],
                "ports": [f"{each.host}:{each.outer}:{each.inner}" for each in service.ports],
                "volumes": volumes,
                "restart": service.restart,
                "stop_grace_period": f"{facts['stop_grace_s'] // 60}m",
            }
        }
    }
    if not service.is_stored_in_directory:
        document["volumes"] = {service.storage: {"name": service.storage}}
    return {name: _undollared(value) for name, value in document.items()}


def _undollared(value: Value) -> Value:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _undollared(each) for key, each in value.items()}
    return [_undollared(each) for each in value] if isinstance(value, Sequence) else value


def run_words(service: Service) -> tuple[str, ...]:
    """The call of the Docker client that starts the machine in the background."""
    words = ["docker", "run", "--detach", f"--name={service.name}"]
    words += [f"--env={name}={value}" for name, value in service.environment.items()]
    words += [f"--device={node}" for node in service.devices]
    words += ["--cap-add=NET_ADMIN"]
    words += [f"--publish={each.host}:{each.outer}:{each.inner}" for each in service.ports]
    kind = "bind" if service.is_stored_in_directory else "volume"
    words += [f"--mount={_csv(f'type={kind}', f'source={service.storage}', f'target={_STORAGE}')}"]
    if service.mount is not None:
        words += [f"--mount={_csv('type=bind', f'source={service.mount.source}', f'target={service.mount.target}')}"]
    words += [f"--restart={service.restart}", f"--stop-timeout={load_facts()['stop_grace_s']}", service.image]
    return tuple(words)


def _csv(*fields: str) -> str:
    """The value of --mount, which Docker reads as a line of CSV: unlike --volume it takes colons, and quoted commas."""
    return ",".join('"' + field.replace('"', '""') + '"' if {'"', ","} & set(field) else field for field in fields)


def _kubernetes(service: Service) -> Iterator[Mapping[str, Value]]:
    """A claim for the storage, a deployment of one and a service inside the cluster, as qemus/qemu's kubernetes.yml.

    Device nodes come in as hostPath, which only a privileged container may open. The web viewer is reached by
    `kubectl port-forward`; nothing is offered outside of the cluster.
    """
    if service.restart not in ("always", "unless-stopped"):
        raise ConfigError(
            f"--restart {service.restart}: a Kubernetes deployment always starts its machine again",
            hint="leave --restart away, or scale the deployment to 0 to stop it",
        )
    storage: Value = {"name": "storage", "persistentVolumeClaim": {"claimName": f"{service.name}-storage"}}
    if service.is_stored_in_directory:
        storage = {"name": "storage", "hostPath": {"path": service.storage, "type": "DirectoryOrCreate"}}
    else:
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{service.name}-storage"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": service.disk[:-1] + _UNITS[service.disk[-1]]}},
            },
        }
    places: list[tuple[str, str, str, str]] = [
        (f"dev-{node.rpartition('/')[2]}", node, node, "CharDevice") for node in service.devices
    ]
    if service.mount is not None:
        places.append(("boot", service.mount.source, service.mount.target, "File"))
    labels: Value = {"app": service.name}
    container: Value = {
        "name": service.name,
        "image": service.image,
        "env": [{"name": name, "value": _unexpanded(value)} for name, value in service.environment.items()],
        "ports": [
            {"containerPort": each.inner, "name": f"port-{each.inner}", "protocol": "TCP"} for each in service.ports
        ],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "privileged": True},
        "volumeMounts": [
            {"name": "storage", "mountPath": _STORAGE},
            *({"name": name, "mountPath": target} for name, _, target, _ in places),
        ],
    }
    volumes: list[Value] = [storage]
    volumes += [{"name": name, "hostPath": {"path": source, "type": kind}} for name, source, _, kind in places]
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": service.name, "labels": labels},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": int(load_facts()["stop_grace_s"]),
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name},
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                {"name": f"port-{each.inner}", "port": each.inner, "targetPort": each.inner, "protocol": "TCP"}
                for each in service.ports
            ],
        },
    }


def _unexpanded(value: str) -> str:
    """Kubernetes replaces $(NAME) in a variable's value, and takes $$ for a dollar sign."""
    return value.replace("$", "$$")


def _yaml(value: Value, indent: str = "") -> Iterator[str]:
    """The lines of a mapping or list in YAML's block style."""
    entries = (
        [(f"{_key(key)}:", each) for key, each in value.items()]
        if isinstance(value, Mapping)
        else [("-", each) for each in value]  # type: ignore[union-attr]
    )
    for lead, each in entries:
        if isinstance(each, str | bool | int):
            yield f"{indent}{lead} {json.dumps(each, ensure_ascii=False)}"
        elif lead == "-":
            first, *rest = _yaml(each, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}{lead}"
            yield from _yaml(each, f"{indent}  ")


def _key(text: str) -> str:
    return text if _PLAIN_KEY.fullmatch(text) else json.dumps(text, ensure_ascii=False)
