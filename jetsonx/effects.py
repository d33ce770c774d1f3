"""What pulling needs of the world, handed down as one value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from jetsonx.console import Console
from jetsonx.runner import Runner
from jetsonx.store.store import Store

if TYPE_CHECKING:
    from jetsonx.net.http import Http


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The store, programs of this host, the terminal, and the network unless ``offline``."""

    store: Store
    runner: Runner
    console: Console
    offline: bool = False

    @cached_property
    def http(self) -> Http:
        """The HTTP client, behind the user's mirrors; made when first asked for, as its import is not free."""
        from jetsonx.net.http import Http
        from jetsonx.net.mirrors import load_mirrors

        return Http(load_mirrors(os.environ), self.console)
