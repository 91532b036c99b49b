"""Train, register and store test data with the installed package, in the working directory."""

import numpy as np
import torch
from torch import nn

import mlflow_pt_eval as mpe

torch.manual_seed(0)
x = torch.randn(60, 4)
y = (x.sum(1) > 0).long()
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best = mpe.RegisterBest("installed", monitor="val_accuracy", mode="max", input_example=x[:2])
with mpe.TrainingRun({"model": model, "optimizer": optimizer}, callbacks=[best]) as run:
    for _ in run.epochs(2):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log_step(train_loss=loss)
        run.log(**mpe.validate(model, [(x, y)]))
assert run.registered_version == 1
np.savez("data.npz", X=x.numpy(), y=y.numpy())
