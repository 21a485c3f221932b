"""The command ``python -m mnist_lab.predict outputs/<name>/latest pictures/``: what a network takes pictures for."""

import sys

from mnist_lab.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        from mnist_lab.explore.predict import main  # here, where a Ctrl-C ends it in silence

        sys.exit(main())
