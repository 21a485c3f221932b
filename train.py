"""The one entry point: ``python train.py model=convnet optim=adam``. See ``python train.py --help``."""

import hydra
from omegaconf import DictConfig

from mnist_lab.errors import exit_on_user_error
from mnist_lab.runs.directory import register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run the experiment that ``cfg`` describes; its best validation accuracy, for sweeps."""
    from mnist_lab.runs.lifecycle import run  # here, so that --help, --cfg and tab completion do not wait for torch

    return run(cfg)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
