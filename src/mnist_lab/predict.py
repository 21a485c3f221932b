"""The command ``python -m mnist_lab.predict outputs/pooled/<run> pictures/``: what a network takes pictures for."""

import sys

from mnist_lab.errors import exit_on_user_error
from mnist_lab.explore.predict import main

if __name__ == "__main__":
    with exit_on_user_error():
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            sys.exit(130)
