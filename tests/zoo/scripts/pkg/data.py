import torch
from torch.utils.data import DataLoader, Dataset

import planted


class Molecules(Dataset):
    def __init__(self, n, batch_size):
        self.n = n
        self.batch_size = batch_size
        self.served = 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        planted.loading(self.served % self.n, self.batch_size, 0.001)
        self.served += 1
        generator = torch.Generator().manual_seed(i)
        atoms = torch.rand(6, generator=generator)
        return atoms, atoms.prod()


def build_loader(n=280, batch_size=7):
    return DataLoader(Molecules(n, batch_size), batch_size=batch_size, shuffle=True)
