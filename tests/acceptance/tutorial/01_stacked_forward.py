"""Send a batch of windows through three LSTM layers of shrinking width."""

import torch

from puffin.deep.rnn import StackedLSTM

torch.manual_seed(0)
model = StackedLSTM(input_dim=1, hidden_dims=[128, 64, 32], output_dim=1, dropout=0.2)
x = torch.randn(16, 20, 1)  # 16 windows of 20 bars, one feature
out = model(x)
parameters = sum(p.numel() for p in model.parameters())
print(f"StackedLSTM {model.hidden_dims}: {tuple(x.shape)} -> {tuple(out.shape)}")
print(f"{model.num_layers} layers, {parameters} parameters")

assert out.shape == (16, 1)
assert torch.isfinite(out).all()
assert [layer.hidden_size for layer in model.lstm_layers] == [128, 64, 32]
