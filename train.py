"""The one entry point: ``python train.py model=convnet optim=adam``. See ``python train.py --help``."""

import hydra
from omegaconf import DictConfig

from mnist_lab import runs, start
from mnist_lab.errors import reported

runs.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run the experiment that ``cfg`` describes; its best validation accuracy, for sweeps."""
    start.quickly()
    from mnist_lab.experiment import run  # here, so that --help, --cfg and tab completion do not wait for torch

    return run(cfg)


if __name__ == "__main__":
    with reported():
        main()
