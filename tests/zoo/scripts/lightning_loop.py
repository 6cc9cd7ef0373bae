"""Lightning, with a validation after each epoch; samples are slow to read."""

import logging
import tempfile
import warnings

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import planted

BATCH_SIZE = 10


class Clips(Dataset):
    def __init__(self, n):
        self.x = torch.randn(n, 20)
        self.served = 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        planted.loading(self.served % len(self), BATCH_SIZE, 0.001)
        self.served += 1
        return self.x[index], self.x[index, :3].argmax()


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
        self.seen = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        self.seen.append(loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def on_train_epoch_end(self):
        metrics = self.trainer.callback_metrics
        mean = torch.stack(self.seen).mean()
        print(f"epoch {self.current_epoch} loss {mean:.6f} val_loss {metrics['val_loss']:.6f}")
        self.seen.clear()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    L.seed_everything(0, verbose=False)
    train = DataLoader(Clips(200), batch_size=BATCH_SIZE, shuffle=True)
    held_out = torch.randn(50, 20)
    val = DataLoader(TensorDataset(held_out, held_out[:, :3].argmax(1)), batch_size=25)
    with tempfile.TemporaryDirectory() as directory:
        trainer = L.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=directory,
        )
        trainer.fit(Classifier(), train, val)
    planted.tell(trainer.global_step, trainer.current_epoch, "loading", samples=600)


if __name__ == "__main__":
    main()
