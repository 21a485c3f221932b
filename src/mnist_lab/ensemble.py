"""The command ``python -m mnist_lab.ensemble RUNS...``: several trained networks that answer together."""

from mnist_lab.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        from mnist_lab.explore.ensemble import main  # here, where a Ctrl-C ends it in silence

        main()
