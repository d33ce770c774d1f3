"""``jetsonx targets``: what it prints, held by golden files.

After a wanted change: ``JETSONX_UPDATE_GOLDEN=1 pytest tests/unit/test_targets.py``, then read the diff.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.catalog.render import catalog_json, render_table, render_target, target_json
from jetsonx.cli.targets import command
from jetsonx.console import Console
from jetsonx.errors import ConfigError

CATALOG = load_catalog()
GOLDEN = Path(__file__).parent.parent / "golden"


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("JETSONX_UPDATE_GOLDEN"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def run(*args: str) -> str:
    out = io.StringIO()
    result = CliRunner().invoke(
        command, args, obj=SimpleNamespace(console=Console(out=out)), standalone_mode=False, catch_exceptions=False
    )
    assert result.exit_code == 0
    return out.getvalue()


def test_table() -> None:
    text = render_table(CATALOG)
    check("targets.txt", text)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", ["orin-nano@36.4.3", "thor-t5000@39.2.0", "nano@32.1.0"])
def test_one_target(name: str) -> None:
    text = render_target(resolve_target(CATALOG, name))
    check(f"targets-{name}.txt", text)
    assert max(map(len, text.splitlines())) <= 100


def test_json() -> None:
    check(
        "targets-orin-nano@36.4.3.json", json.dumps(target_json(resolve_target(CATALOG, "orin-nano@36.4.3")), indent=2)
    )


def test_json_of_every_pair_has_the_documented_keys() -> None:
    expected = target_json(resolve_target(CATALOG, "orin-nano@36.4.3"))
    documented = target_json.__doc__ or ""
    for module in CATALOG.modules.values():
        for release in CATALOG.releases_for(module):
            found = json.loads(json.dumps(target_json(resolve_target(CATALOG, f"{module.id}@{release.l4t}"))))
            assert found.keys() == expected.keys()
            for key, value in found.items():
                assert f"``{key}``" in documented
                if isinstance(value, dict):
                    assert value.keys() == expected[key].keys()
                    assert all(f"``{name}``" in documented for name in value)


def test_json_says_null_for_what_is_not_known() -> None:
    found = target_json(resolve_target(CATALOG, "nano@32.1"))
    assert found["cuda"]["limits"] is None
    assert found["release"]["cuda_toolkit"] is None


def test_catalog_json_lists_what_resolves() -> None:
    found = catalog_json(CATALOG)
    assert found["schema"] == 1
    for module in found["modules"]:
        for l4t in module["l4t"]:
            assert resolve_target(CATALOG, f"{module['id']}@{l4t}").sm == module["sm"]
    assert {release["l4t"] for release in found["releases"]} == {release.l4t for release in CATALOG.releases}


def test_command_prints_the_same() -> None:
    assert run() == render_table(CATALOG) + "\n"
    assert run("agx-thor@39.2") == render_target(resolve_target(CATALOG, "agx-thor@39.2")) + "\n"
    assert json.loads(run("--json")) == catalog_json(CATALOG)
    assert json.loads(run("orin-nano@36.4.3", "--json"))["target"] == "orin-nano@36.4.3"


def test_command_lets_a_refusal_through_to_the_error_boundary() -> None:
    with pytest.raises(ConfigError, match="does not support Orin"):
        run("orin-nano@38.4")
