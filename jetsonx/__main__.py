"""``python -m jetsonx``."""

from jetsonx.cli import main

if __name__ == "__main__":
    main()
