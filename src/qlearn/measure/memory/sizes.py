"""Sizes of decoder models, and the parameters that follow from them.

An :class:`Architecture` holds what a published configuration says; its properties count. Linear
layers inside the transformer blocks are counted apart from everything else: they are what the
quantizers of this package touch. (Sources: transformers' models of each family, with which every
entry of the catalogue is compared.)
"""

from __future__ import annotations

from dataclasses import dataclass

from qlearn.numerics.refuse import check_count


@dataclass(frozen=True)
class Architecture:
    """A decoder: attention and an MLP a block, between an embedding and an output head.

    The defaults are those of a Llama: gated MLP, two norms a block without biases, no biases
    anywhere, no learned positions.

    Attributes:
        name: what the catalogue calls it.
        layers: transformer blocks.
        hidden: width of the residual stream.
        mlp: inner width of the MLP (of one expert).
        heads: query heads.
        kv_heads: key heads, and value heads; fewer than ``heads`` where several share one.
        vocab: rows of the embedding.
        family: transformers' ``model_type``.
        head_dim: width of a head; 0 stands for ``hidden // heads``.
        tied: the output head is the embedding itself.
        gated: the MLP multiplies two projections (gate and up); otherwise there is one.
        experts: MLPs in a block of which a router picks some; 0 for a single MLP.
        experts_per_token: how many the router picks.
        qkv_bias, output_bias, mlp_bias, head_bias: which linear layers have biases: queries, keys
            and values; the attention's output; the MLP; the output head.
        norms: a block's, in number.
        norm_bias: LayerNorm with its bias; otherwise RMSNorm.
        final_norm: a norm stands in front of the output head.
        positions: rows of learned positions.
        word_width: width of the embedding where it isn't ``hidden`` (OPT-350m projects from one to
            the other and back); 0 where it is.
        fused_qkv, fused_gate: queries, keys and values are one layer; gate and up are one layer.
        context: positions that the model was made for; 0 where that is not known.
        window: tokens that windowed attention looks back; 0 for none.
        windowed: how many of the layers do; they keep no more than ``window`` tokens.
        counted: of a family that has no formula here: weights of the linear layers in the blocks,
            all parameters, and the sum of the inputs and outputs of those layers.
        title: as its makers write it.
        source: where the configuration is published.
    """

    name: str
    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocab: int = 32_000
    family: str = "llama"
    head_dim: int = 0
    tied: bool = False
    gated: bool = True
    experts: int = 0
    experts_per_token: int = 0
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    norms: int = 2
    norm_bias: bool = False
    final_norm: bool = True
    positions: int = 0
    word_width: int = 0
    fused_qkv: bool = False
    fused_gate: bool = False
    context: int = 0
    window: int = 0
    windowed: int = 0
    counted: tuple[int, int, int] | None = None
    title: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "mlp", "heads", "kv_heads", "vocab"):
            check_count(1, **{name: getattr(self, name)})
        for name in ("head_dim", "experts", "positions", "word_width", "context", "window"):
            check_count(0, **{name: getattr(self, name)})
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads={self.heads} is not divisible by kv_heads={self.kv_heads}; "
                "each key head serves equally many query heads"
            )
        if not self.head_dim:
            if self.hidden % self.heads:
                raise ValueError(
                    f"hidden={self.hidden} is not divisible by heads={self.heads}; name head_dim"
                )
            object.__setattr__(self, "head_dim", self.hidden // self.heads)
        if not self.word_width:
            object.__setattr__(self, "word_width", self.hidden)
        check_count(min(1, self.experts), experts_per_token=self.experts_per_token)
        if self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token={self.experts_per_token} is more than experts={self.experts}; "
                "a router picks some of them"
            )
        check_count(min(1, self.window), windowed=self.windowed)
        if self.windowed > self.layers or (self.windowed and not self.window):
            raise ValueError(
                f"windowed={self.windowed} with layers={self.layers} and window={self.window}; "
                "name how many layers look back no further than window"
            )

    @property
    def query_width(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all keys of a token, or of all its values."""
        return self.kv_heads * self.head_dim

    @property
    def attention_layers(self) -> tuple[tuple[int, int], ...]:
        """``(in_features, out_features)`` of one block's linear layers in attention."""
        output = (self.query_width, self.hidden)
        if self.fused_qkv:
            return (self.hidden, self.query_width + 2 * self.kv_width), output
        key = (self.hidden, self.kv_width)
        return (self.hidden, self.query_width), key, key, output

    @property
    def mlp_layers(self) -> tuple[tuple[int, int], ...]:
        """The same of one MLP: of each expert, where there are several."""
        up, down = (self.hidden, self.mlp), (self.mlp, self.hidden)
        if not self.gated:
            return up, down
        return ((self.hidden, 2 * self.mlp), down) if self.fused_gate else (up, up, down)

    @property
    def expert_parameters(self) -> int:
        """Weights of one MLP."""
        return sum(a * b for a, b in self.mlp_layers)

    @property
    def linear_parameters(self) -> int:
        """Weights in all blocks' linear layers: what is quantized, and what adapters stand on."""
        if self.counted:
            return self.counted[0]
        attention = sum(a * b for a, b in self.attention_layers)
        return self.layers * (attention + max(1, self.experts) * self.expert_parameters)

    @property
    def embedding_parameters(self) -> int:
        """The table of words: of it a step reads one row a token, unless the head is tied to it."""
        return self.vocab * self.word_width

    @property
    def other_parameters(self) -> int:
        """Everything else: embedding, head, norms, biases, positions, routers, projections."""
        if self.counted:
            return self.counted[1] - self.counted[0]
        hidden, norm = self.hidden, self.hidden * (2 if self.norm_bias else 1)
        block = self.norms * norm + self.experts * hidden
        block += self.qkv_bias * (self.query_width + 2 * self.kv_width) + self.output_bias * hidden
        block += self.mlp_bias * ((2 if self.gated else 1) * self.mlp + hidden)
        outside = self.embedding_parameters * (1 if self.tied else 2)
        outside += self.head_bias * self.vocab + self.positions * hidden + self.final_norm * norm
        if self.word_width != hidden:
            outside += 2 * self.word_width * hidden
        return self.layers * block + outside

    @property
    def parameters(self) -> int:
        """All of them; tied ones once."""
        return self.linear_parameters + self.other_parameters

    def linear_parameters_read(self, tokens: int = 1) -> float:
        """Weights of the blocks that a step over ``tokens`` sequences has to read.

        All of them, unless there are experts: then those that some token's router picked. With
        experts picked evenly, ``tokens`` of them pick ``n (1 - (1 - k/n)^tokens)`` of ``n``.
        """
        if not self.experts or self.counted:
            return self.linear_parameters
        share = (1 - self.experts_per_token / self.experts) ** tokens
        return self.linear_parameters - (
            self.layers * self.experts * self.expert_parameters * share
        )

    @property
    def active_parameters(self) -> int:
        """Parameters that take part in one token: all but the experts that it leaves out."""
        return round(self.linear_parameters_read()) + self.other_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Of LoRA on every linear layer of every block: ``rank * (in + out)`` each.

        Raises:
            ValueError: for a rank below 1.
        """
        check_count(1, rank=rank)
        if self.counted:
            return rank * self.counted[2]
        widths = sum(a + b for a, b in self.attention_layers)
        widths += max(1, self.experts) * sum(a + b for a, b in self.mlp_layers)
        return self.layers * rank * widths
