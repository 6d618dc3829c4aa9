"""Small networks of a few blocks."""

from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, x, mask=None):
        hidden = None if mask is None else ~mask
        x = x + self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)[0]
        return x + self.linear(x).tanh()


class Encoder(nn.Module):
    def __init__(self, depth=4, width=6):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x, mask=None):
        for block in self.blocks:
            x = block(x, mask)
        return x


class Shared(nn.Module):
    """One block for every depth, as in ALBERT."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        x = self.block(self.first(x))
        return self.last(self.block(x))


class NamedLayers(nn.Module):
    """Embeddings and blocks, named as in BERT."""

    def __init__(self, depth=4):
        super().__init__()
        self.embeddings = nn.Embedding(5, 4)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(nn.TransformerEncoderLayer(4, 2, 8) for _ in range(depth))
