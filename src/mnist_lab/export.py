"""The command ``python -m mnist_lab.export outputs/<name>/<run>``: a file that other software runs."""

from mnist_lab.errors import exit_on_user_error
from mnist_lab.explore.export import main

if __name__ == "__main__":
    with exit_on_user_error():
        main()
