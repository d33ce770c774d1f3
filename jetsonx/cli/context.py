"""What every command gets: the effects, made when first used."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from jetsonx.console import Console
from jetsonx.runner import Runner

if TYPE_CHECKING:
    from jetsonx.effects import Effects
    from jetsonx.store.store import Store


class Context:
    """The console, the runner and the store of one invocation."""

    def __init__(self, verbosity: int = 0) -> None:
        self.console = Console(verbosity)
        self.runner = Runner(self.console.command)

    @cached_property
    def store(self) -> Store:
        """The store in the user's cache directory; ``JETSONX_CACHE`` moves it."""
        from jetsonx.store.store import Store, default_root

        return Store(default_root(os.environ), self.console)

    def effects(self, *, offline: bool = False) -> Effects:
        """What pulling needs of the world."""
        from jetsonx.effects import Effects

        return Effects(store=self.store, runner=self.runner, console=self.console, offline=offline)
