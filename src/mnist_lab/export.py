"""The command ``python -m mnist_lab.export outputs/<name>/latest``: a file that other software runs."""

from mnist_lab.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        from mnist_lab.explore.export import main  # here, where a Ctrl-C ends it in silence

        main()
