"""Find the blocks of a network's trunk by its structure and one pass, without a table of architectures."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from torch import nn

from nfas_lightning.errors import InputError
from nfas_lightning.hooks.succession import RowInPass

__all__ = ["Row", "SeveralTrunksError", "choose_trunk", "find_blocks", "find_rows"]

# Only these exact types are mere containers: a subclass such as torchvision's ConvNormActivation, which is a
# Sequential, or a dense block, which is a ModuleDict, computes something and counts as a block.
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
PARALLEL = ("experts", "heads")
"""Containers of modules that work side by side."""

_DECODERS = ("decoder", "dec")
# Classes whose modules may be attributes without a number and follow each other all the same.
_SAME_KIND = dict.fromkeys([f"Inception{letter}" for letter in "ABCDE"], "Inception")
_MOST_STAGES = 6  # networks in stages have four or five; a longer row of equal modules is the trunk itself
_STAGE_WORDS = ("stage", "level", "group", "layer", "block")

_Named = tuple[str, nn.Module]
_RECURRENT = (nn.RNNBase,)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh)

_MIN_BLOCKS = 3
_MOST_PARTS = 6  # of a network that is written as stem, backbone, neck and head
_WHOLE = 0.75  # of a row's parameters: what holds them is the row
_RIVAL_SHARE = 0.25  # a second trunk with this share of the first one's parameters makes "auto" ambiguous


@dataclass
class Row:
    """Successive blocks, whatever their class.

    Attributes:
        names: of the blocks.
        modules: the blocks.
        words: of the container's name, without numbers: layer1 ... layer4 of a ResNet are one row, blocks and
            decoder_blocks are two.
        has_single_weights: no block holds more than one weight matrix, as a convolution with its norm does.
    """

    names: list[str]
    modules: list[nn.Module]
    words: tuple[str, ...]
    has_single_weights: bool = False

    @cached_property  # while the structure is looked at: FSDP1 shows sizes of shards afterwards
    def n_parameters(self) -> int:
        """Number of parameters, shared ones once."""
        unique = {p for module in self.modules for p in module.parameters()}
        return sum(p.numel() for p in unique)

    def is_decoder(self) -> bool:
        """Whether a container's name says so."""
        return any(part in _DECODERS for word in self.words for part in word.split("_"))

    def __str__(self) -> str:
        kinds = " and ".join(dict.fromkeys(type(module).__name__ for module in self.modules))
        ends = " ... ".join(dict.fromkeys([self.names[0], self.names[-1]]))
        return f"{ends} ({len(self.names)} x {kinds})"


def find_blocks(model: nn.Module) -> list[str]:
    """Return the names of the trunk's blocks, in definition order.

    The first rule that finds something decides:

    1. Successive modules of a container, whatever their class (see `Row`): residual blocks of a ResNet,
       inverted residuals, ConvNeXt and Swin blocks, dense blocks, transformer layers. Stages give way to
       their blocks; stems and transitions between stages, which hold a single weight matrix, are no blocks.
       Of an encoder and a decoder, the encoder. Between several trunks the one with the most parameters
       wins, if it is clearly larger; a warning names what is left out.
    2. A plain `nn.Sequential`: its children.
    3. Convolutions in a row (VGG, AlexNet): the activation after each one.
    4. Recurrent modules; a stack inside one module fires once and counts once.
    5. The longest row of equal leaves in one container.

    Args:
        model: the network; it is only looked at, so that parameters may live on the meta device.

    Returns:
        Names relative to `model`; possibly fewer than three.

    What runs at all, and what runs side by side, can't be seen in a structure, but for containers called
    ``experts`` or ``heads``, which are passed over: where there are several trunks, `DepthRecorder` asks its
    first pass (see `choose_trunk`), and it warns where two blocks in a row were given the very same tensor.

    Raises:
        SeveralTrunksError: two trunks of similar size, e.g. the two towers of CLIP.
    """
    rows = find_rows(model)
    if rows:
        return choose_trunk(type(model).__name__, rows)
    if type(model) is nn.Sequential:
        return [name for name, _ in model.named_children()]
    activations = _activations_after_convolutions(model)
    if len(activations) >= _MIN_BLOCKS:
        return activations
    recurrent = [name for name, module in model.named_modules() if name and isinstance(module, _RECURRENT)]
    return recurrent or _longest_row(model)


class SeveralTrunksError(InputError):
    """A network has several rows of blocks of similar size, between which nothing decides."""


def find_rows(model: nn.Module) -> list[Row]:
    """Return the rows of blocks that may be a network's trunk, the largest first."""
    rows = _without_decoders(_long_enough(rows_below("", model)))
    return sorted(rows, key=lambda row: row.n_parameters, reverse=True)


def choose_trunk(network: str, rows: Sequence[Row], seen: Sequence[RowInPass] | None = None) -> list[str]:
    """Return the names of the trunk's blocks.

    Args:
        network: its name, for messages.
        rows: the choices, the largest first.
        seen: what a pass showed of each row. Those that it did not run through, or whose blocks work side by
            side or never feed each other, are no trunk. Where several are left, those follow each other of
            which one's last block feeds the other's first. None: structure alone decides.

    Warns:
        UserWarning: rows that are much smaller were left out.

    Raises:
        SeveralTrunksError: several rows of similar size; names them, with what was seen.
    """
    known = list(seen) if seen is not None else [None] * len(rows)
    trunks = [i for i, one in enumerate(known) if one is None or one.may_be_trunk]
    if seen is not None:
        trunks = [i for i in trunks if seen[i].n_fed] or trunks
    left = trunks or list(range(len(rows)))
    if len(left) < 2 or not _are_rivals(rows[left[0]], rows[left[1]]):
        first, others = rows[left[0]], [rows[i] for i in left[1:]]
        if seen is not None and not _are_rivals(rows[0], rows[1]):  # the structure had a choice, and said so
            others = [] if left[0] == 0 else [row for row in rows if row is not first]
        if others:
            warnings.warn(
                f"layers='auto' records {first} of {network} and leaves out {'; '.join(map(str, others))}. "
                f"Name the blocks if these belong to the same trunk.",
                stacklevel=3,
            )
        return first.names
    if seen is not None and trunks:
        joined = _joined(rows, seen, [i for i in trunks if _are_rivals(rows[trunks[0]], rows[i])])
        if joined:
            return joined
    listed = "; ".join(
        f"{row}" if one is None else f"{row}: {one}" for row, one in zip(rows, known, strict=True)
    )
    raise SeveralTrunksError(
        f"layers='auto' found several trunks in {network} and can't choose: {listed}. "
        f"Name one with a glob, or record the submodule that holds it; name all of them in a list if one "
        f"runs after the other."
    )


def _are_rivals(first: Row, other: Row) -> bool:
    return other.n_parameters > _RIVAL_SHARE * first.n_parameters


def _joined(rows: Sequence[Row], seen: Sequence[RowInPass], rivals: Sequence[int]) -> list[str]:
    """The blocks of rows that feed each other, in the order of their runs; none where they do not."""
    order = sorted(rivals, key=lambda i: seen[i].first)
    if all(seen[other].is_fed_by(seen[one]) for one, other in pairwise(order)):
        return [name for i in order for name in rows[i].names]
    return []


def _long_enough(rows: Sequence[Row]) -> list[Row]:
    """Rows of three blocks or more; shorter ones whose classes are those of others are seen too.

    The blocks of a row that is too short hold rows of their own, and a row that begins at one large module,
    such as a stem, a backbone and a head, gives way to what that module holds.
    """
    counts: dict[type, int] = defaultdict(int)
    for row in rows:
        for module in row.modules:
            counts[type(module)] += 1
    kept: list[Row] = []
    for row in rows:
        is_seen = any(counts[type(module)] >= _MIN_BLOCKS for module in row.modules)
        inside = [] if len(row.names) > _MOST_PARTS else _inside(row)
        largest = max(inside, key=lambda row: row.n_parameters, default=row)
        is_whole = largest is not row and len(largest.names) >= _MIN_BLOCKS
        if is_whole and largest.n_parameters > _WHOLE * row.n_parameters:
            kept.append(largest)
        elif len(row.names) >= _MIN_BLOCKS or is_seen:
            kept.append(row)
        else:
            kept += inside
    whole = [row for row in kept if not row.has_single_weights]
    return whole or kept


def _inside(row: Row) -> list[Row]:
    pairs = zip(row.names, row.modules, strict=True)
    return _long_enough([found for name, module in pairs for found in rows_below(name, module)])


def _without_decoders(rows: Sequence[Row]) -> list[Row]:
    encoders = {type(module) for row in rows if not row.is_decoder() for module in row.modules}
    return [row for row in rows if not row.is_decoder() or encoders.isdisjoint(map(type, row.modules))]


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
        if type(module) not in CONTAINERS or any(word in PARALLEL for word in words_of(name)):
            continue
        rows = defaultdict(list)
        for child_name, child in module.named_children():
            rows[type(child)].append(f"{name}.{child_name}" if name else child_name)
        best = max([best, *rows.values()], key=len)
    return best


def rows_below(name: str, module: nn.Module) -> list[Row]:
    """Return the outermost rows inside a module, in definition order.

    Args:
        name: of the module in the network; empty: the network itself.
        module: it is only looked at.
    """
    rows: list[Row] = []
    groups = _groups(name, module)
    in_rows: set[str] = set()
    for members in groups:
        row = _row(members, words_of(_parent(members)))
        if row is not None:
            rows.append(row)
            in_rows.update(key for key, _ in members)
    for key, child in _children(name, module):
        if key not in in_rows and not _is_decoder_of(key, module):
            rows += rows_below(key, child)
    return rows


def words_of(name: str) -> tuple[str, ...]:
    """The parts of a dotted name without their numbers."""
    return tuple(word for word in map(_word, name.split(".")) if word)


def _word(part: str) -> str:
    return re.sub(r"\d+", "", part).strip("_")


def _parent(members: Sequence[_Named]) -> str:
    """The name of a container, or what numbered attributes have in common."""
    first = members[0][0]
    return first if _word(first.rpartition(".")[2]) else first.rpartition(".")[0]


def _children(name: str, module: nn.Module) -> list[_Named]:
    """Children with children of their own, but for those that work side by side."""
    return [
        (f"{name}.{key}".lstrip("."), child)
        for key, child in module.named_children()
        if child._modules and not any(word in PARALLEL for word in words_of(key))
    ]


def _is_decoder_of(name: str, parent: nn.Module) -> bool:
    return name.rpartition(".")[2] == "decoder" and hasattr(parent, "encoder")


def _groups(name: str, module: nn.Module) -> list[list[_Named]]:
    """Children that may follow each other: those of a container, numbered ones, or three of a class."""
    children = _children(name, module)
    if type(module) in (nn.Sequential, nn.ModuleList):
        return [children] if children else []
    by_word: dict[str, list[_Named]] = defaultdict(list)
    words_of_kind: dict[str, list[str]] = defaultdict(list)
    for key, child in children:
        word = _word(key.rpartition(".")[2])
        by_word[word].append((key, child))
        if type(child) not in CONTAINERS:
            kind = type(child).__name__
            words_of_kind[_SAME_KIND.get(kind, kind)].append(word)
    for words in words_of_kind.values():
        first, *others = dict.fromkeys(words)
        members = [member for word in (first, *others) for member in by_word.get(word, [])]
        # encoders of one class, which hold rows of their own, may be towers
        if others and not any(_holds_trunk(member) for member in members):
            for word in (first, *others):
                by_word.pop(word, None)
            by_word[first] = members
    order = [key for key, _ in children]
    groups = [sorted(members, key=lambda member: order.index(member[0])) for members in by_word.values()]
    return [members for members in groups if len(members) > 2 or _is_numbered(members)]


def _is_numbered(members: Sequence[_Named]) -> bool:
    """Whether attributes are told apart by numbers, or a container stands alone."""
    return len({_word(key.rpartition(".")[2]) for key, _ in members}) == 1 and (
        len(members) > 1 or type(members[0][1]) in CONTAINERS
    )


def _row(members: Sequence[_Named], words: tuple[str, ...]) -> Row | None:
    """The blocks of a container's members."""
    flat = _flat(members)
    # a class counts as one: the first fused blocks of EfficientNetV2 hold one kernel each
    kinds = {type(module) for _, module in flat if _n_weights(module) > 1}
    blocks = [member for member in flat if type(member[1]) in kinds]
    has_single_weights = len(blocks) < 3 <= len(flat) and len(flat) > len(blocks)
    blocks = flat if has_single_weights else blocks
    if not blocks:
        return None
    if len(blocks) <= _MOST_STAGES and _are_networks(blocks) and all(map(_holds_trunk, blocks)):
        return None
    blocks = _of_stages(blocks) or blocks
    return Row([key for key, _ in blocks], [block for _, block in blocks], words, has_single_weights)


def _flat(members: Sequence[_Named]) -> list[_Named]:
    """Modules that compute something, in the order of the containers that hold them."""
    flat: list[_Named] = []
    for key, child in members:
        if type(child) not in CONTAINERS or _is_block(child):
            flat.append((key, child))
        else:
            flat += _flat(_children(key, child))
    return flat


def _is_block(container: nn.Module) -> bool:
    """Whether a Sequential is a block that is written as one: a module beside layers with weights."""
    children = list(container.children())
    composite = [child for child in children if child._modules]
    return (
        type(container) is nn.Sequential
        and len(composite) == 1
        and type(composite[0]) not in CONTAINERS
        and any(p.ndim > 1 for child in children if not child._modules for p in child.parameters())
    )


def _of_stages(stages: Sequence[_Named]) -> list[_Named]:
    """The blocks inside stages; none where the modules are no stages."""
    if len(stages) > _MOST_STAGES:
        return []
    rows = [_row_inside(name, stage) for name, stage in stages]
    if not all(rows):
        return []
    kinds = [[type(block) for _, block in row] for row in rows]
    # an attention and a feed-forward layer in each block are no row of blocks
    if max(map(len, kinds)) > 1 and all(len(set(row)) == len(row) for row in kinds):
        return []
    return [block for row in rows for block in row]


def _are_networks(stages: Sequence[_Named]) -> bool:
    """Whether modules of one class are equal in every shape: towers, or an ensemble, rather than stages."""
    shapes = {tuple(tuple(p.shape) for p in stage.parameters()) for _, stage in stages}
    name, stage = stages[0]
    called = f"{'.'.join(name.split('.')[-2:])} {type(stage).__name__}".lower()
    is_stage = any(word in called for word in _STAGE_WORDS)
    return len(stages) > 1 and len(shapes) == 1 and not is_stage


def _holds_trunk(member: _Named) -> bool:
    """Whether a module holds blocks of its own, as networks do and blocks do not."""
    return any(len(row.names) > 2 and not row.has_single_weights for row in rows_below(*member))


def _row_inside(name: str, stage: nn.Module) -> list[_Named]:
    """The blocks in the one container of a stage that holds most of what its modules hold."""
    children = _children(name, stage)
    containers = [_members(key, child) for key, child in children if type(child) in CONTAINERS]
    if not any(containers) and type(stage).__name__.endswith("Stage"):  # RegNet's hold theirs without one
        containers = [children]
    total = sum(_n_parameters(child) for child in stage.children())
    for members in containers:
        blocks = [(key, child) for key, child in members if _n_weights(child) > 1]
        if blocks and 2 * sum(_n_parameters(block) for _, block in blocks) >= total:
            return blocks
    return []


def _members(name: str, container: nn.Module) -> list[_Named]:
    """A container's modules; none of a list of containers, which may be branches."""
    members = _children(name, container)
    if type(container) is nn.Sequential:
        return _flat(members)
    return [] if any(type(child) in CONTAINERS for _, child in members) else members


def _n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _n_weights(module: nn.Module) -> int:
    """Number of weight matrices and kernels; embeddings of positions, (1, K, D), are none."""
    return sum(p.ndim > 1 and len(p) > 1 for p in module.parameters())
