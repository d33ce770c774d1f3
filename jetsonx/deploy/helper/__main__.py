"""Called as ``python3 HELPER VERB WORD...``. Secrets never come as words: everybody on the device can read those."""

import importlib
import sys
from typing import List

# Each is a module beside this one with `main(words)`, which returns the exit status.
VERBS = ("receive", "load", "files")


def main(words: List[str]) -> int:
    """Do the verb that comes first; 64 (EX_USAGE) when there is none of that name."""
    if not words or words[0] not in VERBS:
        sys.stderr.write("expected one of: {}\n".format(", ".join(VERBS)))
        return 64
    return int(importlib.import_module("jetsonx.deploy.helper." + words[0]).main(words[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
