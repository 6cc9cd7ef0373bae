"""A generator against a discriminator, updated in turns; the generator is slow."""

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

import planted

nz = 8


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(nz, 32), nn.ReLU(True), nn.Linear(32, 16), nn.Tanh())

    def forward(self, z):
        planted.cost("forward", 0.005)
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(0.2, inplace=True))
        self.out = nn.Linear(32, 1)

    def forward(self, x):
        planted.cost("forward", 0.001)
        return self.out(self.main(x)).view(-1)


torch.manual_seed(999)
dataloader = DataLoader(TensorDataset(torch.randn(480, 16).tanh()), batch_size=16, shuffle=True)
netG, netD = Generator(), Discriminator()
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
real_label, fake_label = 1.0, 0.0

iters = 0
for epoch in range(2):
    for i, (real,) in enumerate(dataloader):
        # (1) Update D network: maximize log(D(x)) + log(1 - D(G(z)))
        netD.zero_grad()
        label = torch.full((real.size(0),), real_label)
        errD_real = criterion(netD(real), label)
        errD_real.backward()
        with torch.no_grad():
            fake = netG(torch.randn(real.size(0), nz))
        label.fill_(fake_label)
        errD_fake = criterion(netD(fake), label)
        errD_fake.backward()
        optimizerD.step()

        # (2) Update G network: maximize log(D(G(z)))
        netG.zero_grad()
        label.fill_(real_label)
        fake = netG(torch.randn(real.size(0), nz))
        errG = criterion(netD(fake), label)
        errG.backward()
        optimizerG.step()

        if i % 10 == 0:
            errD = errD_real + errD_fake
            print(f"[{epoch}][{i}] Loss_D: {errD.item():.4f} Loss_G: {errG.item():.4f}")
        iters += 1
planted.tell(iters, 2, "forward", samples=960)
