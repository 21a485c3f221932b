"""The classic MNIST tutorials as PyTorch Lightning experiments driven by Hydra configs."""
