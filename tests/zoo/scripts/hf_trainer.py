"""Hugging Face Trainer with a model of one's own; the model is slow."""

import tempfile

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, TrainerCallback

import planted


class TinyConfig(PretrainedConfig):
    model_type = "tiny"


class TinyForSequenceClassification(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(40, 16)
        self.classifier = nn.Linear(16, 2)
        self.post_init()

    def forward(self, input_ids, labels=None):
        planted.cost("forward" if self.training else "evaluation", 0.01)
        logits = self.classifier(self.embeddings(input_ids).mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Reviews(Dataset):
    def __init__(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(0, 40, (n, 12), generator=generator)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": int(self.ids[i].sum() > 234)}


class PrintLoss(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        for name in ("loss", "eval_loss"):
            if name in logs:
                print(f"step {state.global_step} {name} {logs[name]}")


set_seed(0)
with tempfile.TemporaryDirectory() as directory:
    arguments = TrainingArguments(
        output_dir=directory,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
        learning_rate=1e-3,
        logging_steps=10,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = Trainer(
        model=TinyForSequenceClassification(TinyConfig()),
        args=arguments,
        train_dataset=Reviews(240, seed=0),
        eval_dataset=Reviews(40, seed=1),
        callbacks=[PrintLoss()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
planted.tell(trainer.state.global_step, int(trainer.state.epoch), "forward", samples=480)
