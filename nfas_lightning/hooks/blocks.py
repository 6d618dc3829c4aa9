"""Find the blocks of a network's trunk by its structure, without a table of architectures."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field

from torch import nn

__all__ = ["find_blocks"]

# Only these exact types are mere containers: a subclass such as torchvision's ConvNormActivation, which is a
# Sequential, or a dense block, which is a ModuleDict, computes something and counts as a block.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_RECURRENT = (nn.RNNBase,)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh)

# Block classes that one trunk mixes and that play the same part in it.
_INVERTED_RESIDUALS = (
    *("DepthwiseSeparableConv", "InvertedResidual", "EdgeResidual", "UniversalInvertedResidual"),
    *("MBConv", "FusedMBConv"),
)
_SAME_KIND = {
    **dict.fromkeys(_INVERTED_RESIDUALS, "inverted residual"),
    **dict.fromkeys([f"Inception{letter}" for letter in "ABCDE"], "Inception"),
}

# Containers of modules that work side by side.
_PARALLEL = ("experts", "heads")
_DECODERS = ("decoder", "dec")

_MIN_BLOCKS = 3
_MOST_STAGES = 6  # networks in stages have four or five; a longer row of equal modules is the trunk itself
_RIVAL_SHARE = 0.25  # a second trunk with this share of the first one's parameters makes "auto" ambiguous


@dataclass
class _Group:
    """Modules of one kind, in containers of one name, whose ancestors have the same classes.

    Numbers in names don't count: layer1 ... layer4 of a ResNet are one, blocks and decoder_blocks are two.
    """

    kind: str
    classes: tuple[str, ...]
    words: tuple[str, ...]
    names: list[str] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)

    def parameters(self) -> int:
        unique = {p for module in self.modules for p in module.parameters()}
        return sum(p.numel() for p in unique)

    def holds(self, other: _Group) -> bool:
        """Whether the other group lies inside this one's modules."""
        return any(inner.startswith(outer + ".") for outer in self.names for inner in other.names)

    def is_decoder(self) -> bool:
        """Whether a container's name says so."""
        return any(part in _DECODERS for word in self.words for part in word.split("_"))

    def __str__(self) -> str:
        return f"{self.names[0]} ... {self.names[-1]} ({len(self.names)} x {self.kind})"


def find_blocks(model: nn.Module) -> list[str]:
    """Return the names of the trunk's blocks, in definition order.

    The first rule that finds something decides:

    1. Three or more siblings of one composite class, over all stages: residual blocks of a ResNet, inverted
       residuals, ConvNeXt and Swin blocks, dense blocks, transformer layers. The outermost such modules are
       taken; stages (at most six modules that each hold their own row of blocks) give way to their blocks.
       Of an encoder and a decoder, the encoder. Between several trunks, of other classes or in containers of
       other names, the one with the most parameters wins, if it is clearly larger; a warning names what is
       left out of the same class.
    2. A plain `nn.Sequential`: its children.
    3. Convolutions in a row (VGG, AlexNet): the activation after each one.
    4. Recurrent modules; a stack inside one module fires once and counts once.
    5. The longest row of equal leaves in one container.

    Args:
        model: the network; it is only looked at, so that parameters may live on the meta device.

    Returns:
        Names relative to `model`; possibly fewer than three.

    What runs side by side can't be seen in a structure, but for containers called ``experts`` or ``heads``,
    which are passed over: `DepthRecorder` warns where two blocks in a row were given the very same tensor.

    Raises:
        ValueError: two trunks of similar size, e.g. the two towers of CLIP.
    """
    trunk = _composite_blocks(model)
    if trunk:
        return trunk
    if type(model) is nn.Sequential:
        return [name for name, _ in model.named_children()]
    activations = _activations_after_convolutions(model)
    if len(activations) >= _MIN_BLOCKS:
        return activations
    recurrent = [name for name, module in model.named_modules() if name and isinstance(module, _RECURRENT)]
    return recurrent or _longest_row(model)


def _composite_blocks(model: nn.Module) -> list[str]:
    siblings = _group_siblings(model)
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for group in siblings:
        counts[group.classes] += len(group.names)
    # rows of other names count together, so that none of a trunk's is passed over for being short
    groups = [g for g in siblings if counts[g.classes] >= _MIN_BLOCKS]
    outermost = [g for g in groups if not any(h.holds(g) for h in groups if h is not g)]
    if not outermost:
        return []
    outermost.sort(key=_Group.parameters, reverse=True)
    first, *others = outermost
    has_rival = bool(others) and others[0].parameters() > _RIVAL_SHARE * first.parameters()
    same = [g for g in outermost if g.classes == first.classes]
    if has_rival or _is_twofold([name for group in same for name in group.names], model):
        listed = "; ".join(map(str, outermost))
        raise ValueError(
            f"layers='auto' found several trunks in {type(model).__name__} and can't choose: {listed}. "
            f"Name one with a glob, or record the submodule that holds it; name all of them in a list if one "
            f"runs after the other."
        )
    blocks = _blocks_of_stages(first, groups)
    left_out = "; ".join(str(group) for group in same if group is not first)
    if left_out:
        warnings.warn(
            f"layers='auto' records {blocks} of {type(model).__name__} and leaves out {left_out}. Name "
            f"the blocks if these belong to the same trunk.",
            stacklevel=2,
        )
    return blocks.names


def _group_siblings(model: nn.Module) -> list[_Group]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], _Group] = {}
    classes: dict[str, tuple[str, ...]] = {"": (type(model).__name__,)}
    for name, module in model.named_modules():
        if not name:
            continue
        parent = name.rpartition(".")[0]
        own = type(module).__name__
        classes[name] = (*classes[parent], own)
        if type(module) in _CONTAINERS or not any(True for _ in module.children()):
            continue
        words = _words(parent)
        if _in_decoder(name, model) or any(word in _PARALLEL for word in words):
            continue
        kind = _SAME_KIND.get(own, own)
        key = ((*classes[parent], kind), words)
        group = groups.setdefault(key, _Group(kind, *key))
        group.names.append(name)
        group.modules.append(module)
    encoders = {group.classes for group in groups.values() if not group.is_decoder()}
    return [g for g in groups.values() if not g.is_decoder() or g.classes not in encoders]


def _words(name: str) -> tuple[str, ...]:
    """The parts of a dotted name without their numbers."""
    parts = (re.sub(r"\d+", "", part).strip("_") for part in name.split("."))
    return tuple(part for part in parts if part)


def _in_decoder(name: str, model: nn.Module) -> bool:
    """Whether a module lies under a `decoder` that stands beside an `encoder`."""
    parts = name.split(".")
    return any(
        part == "decoder" and hasattr(model.get_submodule(".".join(parts[:i])), "encoder")
        for i, part in enumerate(parts)
    )


def _is_twofold(names: list[str], model: nn.Module) -> bool:
    """Whether blocks are spread over two networks of one class, as in a siamese or two-tower model."""
    owners = set()
    for name in names:
        owner = name.rpartition(".")[0]
        while owner and type(model.get_submodule(owner)) in _CONTAINERS:
            owner = owner.rpartition(".")[0]
        owners.add(owner)
    return len(owners) == 2


def _blocks_of_stages(group: _Group, groups: list[_Group]) -> _Group:
    """The blocks inside a group of stages; the group itself where its modules are no stages."""
    if len(group.names) > _MOST_STAGES:
        return group
    rows = [
        row for row in (_row_inside(n, m) for n, m in zip(group.names, group.modules, strict=True)) if row
    ]
    if len(rows) < len(group.names):
        return group
    inner = {name for row in rows for name in row}
    return next((g for g in groups if set(g.names) == inner), group)


def _row_inside(name: str, stage: nn.Module) -> list[str]:
    """Names in the one container of a stage that holds nothing but composite modules of one class."""
    rows = [
        (f"{name}.{key}", child)
        for key, child in stage.named_children()
        if type(child) in _CONTAINERS and key not in _PARALLEL
    ]
    if type(stage).__name__.endswith("Stage"):  # RegNet's stages hold their blocks without a container
        rows.append((name, stage))
    for row_name, row in rows:
        members = list(row.named_children())
        composite = all(any(True for _ in m.children()) for _, m in members)
        if members and composite and len({type(m) for _, m in members}) == 1:
            return [f"{row_name}.{member}" for member, _ in members]
    return []


def _activations_after_convolutions(model: nn.Module) -> list[str]:
    """The first activation after each convolution, inside the container with the most convolutions."""
    best: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        found, waiting = [], False
        for child_name, child in module.named_children():
            if isinstance(child, _CONVOLUTIONS):
                waiting = True
            elif waiting and isinstance(child, _ACTIVATIONS):
                found.append(f"{name}.{child_name}" if name else child_name)
                waiting = False
        best = max(best, found, key=len)
    return best


def _longest_row(model: nn.Module) -> list[str]:
    best: list[str] = []
    for name, module in model.named_modules():
        if type(module) not in _CONTAINERS or any(word in _PARALLEL for word in _words(name)):
            continue
        rows = defaultdict(list)
        for child_name, child in module.named_children():
            rows[type(child)].append(f"{name}.{child_name}" if name else child_name)
        best = max([best, *rows.values()], key=len)
    return best
