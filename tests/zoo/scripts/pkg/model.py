from torch import nn


class Energy(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.Softplus(), nn.Linear(width, 1))

    def forward(self, atoms):
        return self.layers(atoms).squeeze(-1)
