"""The command ``python -m mnist_lab.report outputs/sweeps/<time>``: one table over many runs."""

from mnist_lab.errors import exit_on_user_error
from mnist_lab.sweeps.summary import main

if __name__ == "__main__":
    with exit_on_user_error():
        main()
